#include "server/images/blob_store.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "server/images/digest.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr size_t kMaxBlob = 8u << 20;
constexpr int kSidecarVersion = 1;

absl::Status RemoveFile(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus("unlink", path);
  return absl::OkStatus();
}

// False if `text` is no sidecar of a version that we know.
bool ParseSidecar(const std::string& text, ImageSidecar* sidecar) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return false;
  const auto string = [&](const char* key) {
    const auto it = document.find(key);
    return it != document.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  const auto version = document.find("version");
  if (version == document.end() || *version != kSidecarVersion) return false;
  sidecar->id = ImageId(string("id"));
  sidecar->manifest = Digest(string("manifest"));
  const auto time = document.find("time");
  if (time != document.end() && time->is_number_integer()) sidecar->time = time->get<int64_t>();
  const auto names = document.find("names");
  if (names == document.end() || !names->is_array()) return false;
  for (const json& name : *names) {
    if (!name.is_string()) return false;
    sidecar->names.push_back(name.get<std::string>());
  }
  return CheckDigest(sidecar->id.str()).ok() && CheckDigest(sidecar->manifest.str()).ok();
}

}  // namespace

absl::StatusOr<BlobStore> BlobStore::Open(const std::string& root) {
  const std::string directory = root + "/blobs";
  for (const char* sub : {"/sha256", "/sha512", "/images"}) {
    RETURN_IF_ERROR(MakeDirectories(directory + sub, 0700));
  }
  return BlobStore(directory);
}

std::string BlobStore::PathOf(absl::string_view digest) const {
  return absl::StrCat(directory_, "/", DigestAlgorithm(digest), "/", DigestHex(digest));
}

std::string BlobStore::SidecarPath(const ImageId& id) const {
  return absl::StrCat(directory_, "/images/", DigestHex(id.str()), ".json");
}

absl::Status BlobStore::Put(const Digest& digest, absl::string_view bytes) const {
  const absl::StatusOr<std::string> present = Get(digest);
  if (present.ok()) return absl::OkStatus();
  return WriteFileDurably(PathOf(digest.str()), bytes, 0600);
}

absl::StatusOr<std::string> BlobStore::Get(const Digest& digest) const {
  const std::string path = PathOf(digest.str());
  ASSIGN_OR_RETURN(std::string bytes, ReadFile(path, kMaxBlob));
  RETURN_IF_ERROR(VerifyDigest(digest.str(), bytes, path));
  return bytes;
}

absl::Status BlobStore::Remove(const Digest& digest) const {
  return RemoveFile(PathOf(digest.str()));
}

absl::Status BlobStore::PutSidecar(const ImageSidecar& sidecar) const {
  const json document = {{"version", kSidecarVersion},
                         {"id", sidecar.id.str()},
                         {"manifest", sidecar.manifest.str()},
                         {"names", sidecar.names},
                         {"time", sidecar.time}};
  return WriteFileDurably(SidecarPath(sidecar.id), document.dump() + "\n", 0600);
}

absl::Status BlobStore::RemoveSidecar(const ImageId& id) const {
  return RemoveFile(SidecarPath(id));
}

absl::StatusOr<std::vector<ImageSidecar>> BlobStore::Sidecars() const {
  ASSIGN_OR_RETURN(const std::vector<std::string> files, ListDirectory(directory_ + "/images"));
  std::vector<ImageSidecar> sidecars;
  for (const std::string& file : files) {
    const absl::StatusOr<std::string> text = ReadFile(directory_ + "/images/" + file, kMaxBlob);
    ImageSidecar sidecar;
    if (text.ok() && ParseSidecar(*text, &sidecar)) {
      sidecars.push_back(std::move(sidecar));
    } else {
      LogWarning("image sidecar ", file, " does not parse, ignoring");
    }
  }
  std::stable_sort(sidecars.begin(), sidecars.end(),
                   [](const auto& a, const auto& b) { return a.time < b.time; });
  return sidecars;
}

absl::Status BlobStore::RetainOnly(const std::set<std::string>& digests) const {
  for (const char* algorithm : {"sha256", "sha512"}) {
    const std::string directory = absl::StrCat(directory_, "/", algorithm);
    ASSIGN_OR_RETURN(const std::vector<std::string> files, ListDirectory(directory));
    for (const std::string& file : files) {
      if (digests.count(absl::StrCat(algorithm, ":", file)) > 0) continue;
      RETURN_IF_ERROR(RemoveFile(absl::StrCat(directory, "/", file)));
    }
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> files, ListDirectory(directory_ + "/images"));
  for (const std::string& file : files) {
    const absl::string_view hex = absl::string_view(file).substr(0, file.rfind('.'));
    if (digests.count(absl::StrCat("sha256:", hex)) > 0) continue;
    if (digests.count(absl::StrCat("sha512:", hex)) > 0) continue;
    RETURN_IF_ERROR(RemoveFile(absl::StrCat(directory_, "/images/", file)));
  }
  return absl::OkStatus();
}

}  // namespace berth
