#include "server/network/cni_config_directory.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr size_t kLargestFile = 1u << 20;
// IN_CREATE: links appear without being written. IN_ATTRIB: permissions, and the directory's own
// removal.
constexpr uint32_t kEvents = IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM |
                             IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;

bool IsConfiguration(const std::string& name) {
  return absl::EndsWith(name, ".conflist") || absl::EndsWith(name, ".conf") ||
         absl::EndsWith(name, ".json");
}

absl::StatusOr<std::vector<std::string>> ConfigurationsIn(const std::string& directory) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(directory));
  std::erase_if(names, [](const std::string& name) { return !IsConfiguration(name); });
  return names;
}

absl::StatusOr<CniConfigList> LoadFile(const std::string& path) {
  // A fifo must not block us.
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat st;
  if (fstat(fd.get(), &st) != 0) return ErrnoStatus("fstat", path);
  if (!S_ISREG(st.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": not a file"));
  ASSIGN_OR_RETURN_WITH(const std::string text, ReadFd(fd.get(), kLargestFile), path);
  absl::StatusOr<CniConfigList> list =
      absl::EndsWith(path, ".conflist") ? ParseCniConfigList(text) : ParseCniConfig(text);
  if (!list.ok()) return Annotate(list.status(), path);
  return list;
}

absl::Status Uninitialized(absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat("cni config uninitialized: ", why));
}

// An error that may be gone the next time although no file has changed.
bool IsPassing(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsInternal(status);
}

struct LoadResult {
  absl::StatusOr<std::shared_ptr<const CniConfigList>> list;
  // False if something passing kept a file from being read.
  bool settled = true;
};

LoadResult Load(const std::string& directory) {
  const absl::StatusOr<std::vector<std::string>> names = ConfigurationsIn(directory);
  if (!names.ok() && !absl::IsNotFound(names.status())) {
    return {Uninitialized(names.status().message()), !IsPassing(names.status())};
  }
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    const std::string path = absl::StrCat(directory, "/", name);
    struct stat st;
    if (stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) continue;
    absl::StatusOr<CniConfigList> list = LoadFile(path);
    if (list.ok()) return {std::make_shared<const CniConfigList>(*std::move(list))};
    LogWarning("cni configuration ", list.status().message());
    return {Uninitialized(list.status().message()), !IsPassing(list.status())};
  }
  return {Uninitialized(absl::StrCat("no network configuration in ", directory))};
}

// Changes with any change of the configurations that stat(2) shows.
std::string SignatureOf(const std::string& directory) {
  std::string signature;
  const absl::StatusOr<std::vector<std::string>> names = ConfigurationsIn(directory);
  if (!names.ok()) return "none";
  for (const std::string& name : *names) {
    struct stat st;
    if (stat(absl::StrCat(directory, "/", name).c_str(), &st) != 0) continue;
    absl::StrAppend(&signature, name, "/", st.st_dev, " ", st.st_ino, " ", st.st_size, " ",
                    st.st_mtim.tv_sec, ".", st.st_mtim.tv_nsec, " ", st.st_ctim.tv_sec, ".",
                    st.st_ctim.tv_nsec, "\n");
  }
  return signature;
}

// Takes all events that wait; true if there was any.
bool Drain(int inotify) {
  alignas(inotify_event) char buffer[4096];
  bool any = false;
  while (read(inotify, buffer, sizeof buffer) > 0) any = true;
  return any;
}

}  // namespace

void CniConfigDirectory::Watch(Identity identity) {
  watched_ = {0, 0};
  // A new descriptor has no events of the old directory.
  inotify_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify_ || !Failpoint("network.cni.inotify").ok()) return;
  if (inotify_add_watch(inotify_.get(), directory_.c_str(), kEvents | IN_ONLYDIR) < 0) {
    inotify_.reset();
    return;
  }
  watched_ = identity;
}

bool CniConfigDirectory::MayHaveChanged(Identity identity) {
  if (identity != Identity{0, 0}) {
    if (watched_ == identity) return Drain(inotify_.get());
    Watch(identity);
    if (watched_ == identity) return true;
  } else {
    inotify_.reset();
    watched_ = {0, 0};
  }
  std::string signature = SignatureOf(directory_);
  if (signature == signature_) return false;
  signature_ = std::move(signature);
  return true;
}

absl::StatusOr<std::shared_ptr<const CniConfigList>> CniConfigDirectory::Current() {
  struct stat st;
  Identity identity = {0, 0};
  if (stat(directory_.c_str(), &st) == 0) identity = {st.st_dev, st.st_ino};
  uint64_t load = 0;
  {
    MutexLock lock(&mu_);
    const bool changed = MayHaveChanged(identity);
    if (!changed && settled_) return loaded_;
    load = ++loads_begun_;
  }
  LoadResult result = Load(directory_);
  MutexLock lock(&mu_);
  if (load > loads_stored_) {
    loads_stored_ = load;
    loaded_ = result.list;
    settled_ = result.settled;
  }
  return result.list;
}

}  // namespace berth
