#include "tests/snapshotter/tar_builder.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace berth {
namespace {

std::string PaxRecord(const std::string& key, const std::string& value) {
  const std::string rest = " " + key + "=" + value + "\n";
  size_t length = rest.size() + 1;
  while (std::to_string(length).size() + rest.size() != length) {
    length = std::to_string(length).size() + rest.size();
  }
  return std::to_string(length) + rest;
}

}  // namespace

void TarBuilder::Header(const std::string& name, char type, const std::string& link, size_t size,
                        const Attributes& attributes, unsigned major, unsigned minor) {
  char block[512] = {};
  std::memcpy(block, name.data(), std::min<size_t>(name.size(), 100));
  std::snprintf(block + 100, 8, "%07o", attributes.mode);
  std::snprintf(block + 108, 8, "%07o", attributes.uid);
  std::snprintf(block + 116, 8, "%07o", attributes.gid);
  std::snprintf(block + 124, 12, "%011zo", size);
  std::snprintf(block + 136, 12, "%011lo", attributes.mtime);
  std::memset(block + 148, ' ', 8);
  block[156] = type;
  std::memcpy(block + 157, link.data(), std::min<size_t>(link.size(), 100));
  std::memcpy(block + 257, "ustar\00000", 8);
  std::snprintf(block + 329, 8, "%07o", major);
  std::snprintf(block + 337, 8, "%07o", minor);
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  std::snprintf(block + 148, 8, "%06o", sum);
  bytes_.append(block, sizeof block);
}

void TarBuilder::Entry(const std::string& name, char type, const std::string& link,
                       const std::string& content, const Attributes& attributes, unsigned major,
                       unsigned minor) {
  std::string pax;
  for (const auto& [key, value] : attributes.pax) pax += PaxRecord(key, value);
  if (name.size() > 100) pax += PaxRecord("path", name);
  if (link.size() > 100) pax += PaxRecord("linkpath", link);
  const auto pad = [this] { bytes_.append((512 - bytes_.size() % 512) % 512, '\0'); };
  if (!pax.empty()) {
    Header("pax", 'x', "", pax.size(), {}, 0, 0);
    bytes_ += pax;
    pad();
  }
  Header(name, type, link, content.size(), attributes, major, minor);
  bytes_ += content;
  pad();
}

TarBuilder& TarBuilder::File(const std::string& name, const std::string& content,
                             Attributes attributes) {
  Entry(name, '0', "", content, attributes);
  return *this;
}
TarBuilder& TarBuilder::Directory(const std::string& name, Attributes attributes) {
  Entry(name, '5', "", "", attributes);
  return *this;
}
TarBuilder& TarBuilder::Symlink(const std::string& name, const std::string& target) {
  Entry(name, '2', target, "", {.mode = 0777});
  return *this;
}
TarBuilder& TarBuilder::HardLink(const std::string& name, const std::string& target) {
  Entry(name, '1', target, "", {});
  return *this;
}
TarBuilder& TarBuilder::Node(const std::string& name, char type, unsigned major, unsigned minor,
                             Attributes attributes) {
  Entry(name, type, "", "", attributes, major, minor);
  return *this;
}

}  // namespace berth
