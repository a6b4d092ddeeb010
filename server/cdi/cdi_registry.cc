#include "server/cdi/cdi_registry.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr size_t kMaxFile = 4u << 20;
constexpr size_t kMaxFiles = 1000;

bool IsSpecFile(const std::string& name) {
  return absl::EndsWith(name, ".json") || absl::EndsWith(name, ".yaml");
}

absl::StatusOr<std::shared_ptr<const CdiSpec>> ReadSpec(const std::string& path) {
  if (absl::EndsWith(path, ".yaml")) {
    return absl::UnimplementedError("YAML is not supported; write it as JSON");
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFile));
  ASSIGN_OR_RETURN(CdiSpec spec, ParseCdiSpec(text));
  return std::make_shared<const CdiSpec>(std::move(spec));
}

}  // namespace

CdiRegistry::CdiRegistry(std::vector<std::string> directories)
    : directories_(std::move(directories)), files_(directories_.size()) {}

CdiRegistry::Files CdiRegistry::Read(const std::string& directory, const Files& known) {
  Files files;
  absl::StatusOr<std::vector<std::string>> names = ListDirectory(directory);
  if (!names.ok()) return files;  // most hosts have none
  std::sort(names->begin(), names->end());
  for (const std::string& name : *names) {
    if (!IsSpecFile(name) || files.size() == kMaxFiles) continue;
    const std::string path = absl::StrCat(directory, "/", name);
    struct stat s;
    if (stat(path.c_str(), &s) != 0 || !S_ISREG(s.st_mode)) continue;
    File file;
    file.changed = s.st_mtim;
    file.size = s.st_size;
    file.inode = s.st_ino;
    const auto old = known.find(path);
    const bool same = old != known.end() && old->second.size == file.size &&
                      old->second.inode == file.inode &&
                      old->second.changed.tv_sec == file.changed.tv_sec &&
                      old->second.changed.tv_nsec == file.changed.tv_nsec;
    file.spec = same ? old->second.spec : ReadSpec(path);
    files.emplace(path, std::move(file));
  }
  return files;
}

CdiRegistry::Found CdiRegistry::Find(const std::vector<Files>& files, const CdiName& name) const {
  Found found;
  for (auto directory = files.rbegin(); directory != files.rend() && found.device == nullptr;
       ++directory) {
    for (const auto& [path, file] : *directory) {
      if (!file.spec.ok() || (*file.spec)->kind != name.kind) continue;
      for (const CdiDevice& device : (*file.spec)->devices) {
        if (device.name != name.device) continue;
        if (found.device != nullptr) {
          found.rival = path;
          continue;
        }
        found.path = path;
        found.spec = *file.spec;
        found.device = &device;
      }
    }
  }
  return found;
}

absl::StatusOr<std::vector<CdiEdits>> CdiRegistry::Resolve(const std::vector<std::string>& names) {
  std::vector<CdiEdits> edits;
  if (names.empty()) return edits;
  std::vector<Files> files;
  {
    MutexLock lock(&mu_);
    files = files_;
  }
  for (size_t i = 0; i < directories_.size(); ++i) files[i] = Read(directories_[i], files[i]);
  {
    MutexLock lock(&mu_);
    files_ = files;
  }
  std::set<std::string> seen;
  for (const std::string& text : names) {
    ASSIGN_OR_RETURN(const CdiName name, ParseCdiName(text));
    const Found found = Find(files, name);
    if (found.device == nullptr) {
      std::string why;
      for (const Files& directory : files) {
        for (const auto& [path, file] : directory) {
          if (!file.spec.ok())
            absl::StrAppend(&why, "; ", path, ": ", file.spec.status().message());
        }
      }
      return absl::InvalidArgumentError(absl::StrCat("CDI device ", text, " is unknown", why));
    }
    if (!found.rival.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("CDI device ", text, " is in both ", found.path, " and ", found.rival));
    }
    for (const CdiEdits* part : {&found.spec->edits, &found.device->edits}) {
      if (!part->unsupported.empty()) {
        return absl::UnimplementedError(absl::StrCat("CDI device ", text, ": ", found.path, ": ",
                                                     part->unsupported[0], " is not supported"));
      }
    }
    if (seen.insert(found.path).second) edits.push_back(found.spec->edits);
    edits.push_back(found.device->edits);
  }
  return edits;
}

}  // namespace berth
