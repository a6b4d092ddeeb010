#include "server/store/record_copies.h"

#include <errno.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;
constexpr char kRecordSuffix[] = ".record";

// Directories are made only when they turn out to be missing: once in the life of a pod.
absl::Status WriteBelow(const std::string& directory, const std::string& name,
                        absl::string_view data) {
  const std::string path = absl::StrCat(directory, "/", name);
  absl::Status status = WriteFileAtomically(path, data, kFileMode);
  if (!absl::IsNotFound(status)) return status;
  RETURN_IF_ERROR(MakeDirectories(directory, kDirectoryMode));
  return WriteFileAtomically(path, data, kFileMode);
}

absl::Status Unlink(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT || errno == ENOTDIR) return absl::OkStatus();
  return ErrnoStatus("unlink", path);
}

// Empty if `path` holds no whole record.
template <typename Record>
std::vector<Record> ReadRecord(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadFile(path);
  Record record;
  if (!bytes.ok()) {
    if (!absl::IsNotFound(bytes.status())) LogWarning(bytes.status().message(), ", ignoring");
    return {};
  }
  if (!record.ParseFromString(*bytes)) {
    LogWarning("copy of a record ", path, " does not parse, ignoring");
    return {};
  }
  return {std::move(record)};
}

}  // namespace

absl::Status RecordCopies::Prepare() const { return MakeDirectories(pods_dir_, kDirectoryMode); }

absl::Status RecordCopies::Write(const store::v1::PodRecord& record) const {
  return WriteBelow(PodDir(record.id()), "record", record.SerializeAsString());
}

absl::Status RecordCopies::Write(const store::v1::ContainerRecord& record) const {
  return WriteBelow(PodDir(record.pod_id()) + "/containers", record.id() + kRecordSuffix,
                    record.SerializeAsString());
}

absl::Status RecordCopies::RemovePod(const PodId& pod) const {
  const std::string directory = PodDir(pod.str());
  RETURN_IF_ERROR(Unlink(directory + "/record"));
  RETURN_IF_ERROR(RemoveTree(directory + "/containers"));
  if (rmdir(directory.c_str()) != 0 && errno != ENOENT && errno != ENOTEMPTY) {
    return ErrnoStatus("rmdir", directory);
  }
  return absl::OkStatus();
}

absl::Status RecordCopies::RemoveContainer(const PodId& pod, const ContainerId& container) const {
  const std::string stem = absl::StrCat(PodDir(pod.str()), "/containers/", container.str());
  RETURN_IF_ERROR(Unlink(stem + kRecordSuffix));
  return Unlink(stem + ".spec");
}

absl::StatusOr<RecordCopies::All> RecordCopies::Load() const {
  All all;
  absl::StatusOr<std::vector<std::string>> pods = ListDirectory(pods_dir_);
  if (absl::IsNotFound(pods.status())) return all;
  RETURN_IF_ERROR(pods.status());
  for (const std::string& pod : *pods) {
    for (auto& record : ReadRecord<store::v1::PodRecord>(PodDir(pod) + "/record")) {
      if (record.id() == pod) all.pods.push_back(std::move(record));
    }
    const std::string directory = PodDir(pod) + "/containers";
    absl::StatusOr<std::vector<std::string>> names = ListDirectory(directory);
    if (!names.ok()) continue;
    for (const std::string& name : *names) {
      if (!absl::EndsWith(name, kRecordSuffix)) continue;
      for (auto& record :
           ReadRecord<store::v1::ContainerRecord>(absl::StrCat(directory, "/", name))) {
        if (record.pod_id() == pod && record.id() + kRecordSuffix == name) {
          all.containers.push_back(std::move(record));
        }
      }
    }
  }
  return all;
}

absl::Status RecordCopies::WriteSpec(const PodId& pod, const ContainerId& container,
                                     absl::string_view json) const {
  return WriteBelow(PodDir(pod.str()) + "/containers", container.str() + ".spec", json);
}

absl::StatusOr<std::string> RecordCopies::ReadSpec(const PodId& pod,
                                                   const ContainerId& container) const {
  return ReadFile(absl::StrCat(PodDir(pod.str()), "/containers/", container.str(), ".spec"));
}

}  // namespace berth
