#include "server/streaming/terminal_size.h"

#include "absl/strings/ascii.h"
#include "nlohmann/json.hpp"

namespace berth {
namespace {

constexpr size_t kMaxObject = 1024;

bool TakeNumber(const nlohmann::json& object, const char* name, uint16_t* value) {
  const auto found = object.find(name);
  if (found == object.end()) return true;
  if (!found->is_number_unsigned() || found->get<uint64_t>() > UINT16_MAX) return false;
  *value = static_cast<uint16_t>(found->get<uint64_t>());
  return true;
}

}  // namespace

std::vector<TerminalSize> TerminalSizeReader::Read(absl::string_view bytes) {
  std::vector<TerminalSize> sizes;
  for (const char c : bytes) {
    if (broken_) break;
    if (object_.empty() && absl::ascii_isspace(static_cast<unsigned char>(c))) continue;
    object_.push_back(c);
    broken_ = object_.size() > kMaxObject;
    if (c != '}') continue;
    // The objects have no objects in them.
    const nlohmann::json object = nlohmann::json::parse(object_, nullptr, false);
    TerminalSize size;
    broken_ = !object.is_object() || !TakeNumber(object, "Width", &size.width) ||
              !TakeNumber(object, "Height", &size.height);
    if (!broken_) sizes.push_back(size);
    object_.clear();
  }
  return sizes;
}

}  // namespace berth
