// Copies of the records below STATE, from which the store comes back when its database is lost.
//
//   STATE/pods/POD/record                  a PodRecord, binary
//   STATE/pods/POD/containers/ID.record    a ContainerRecord, binary
//   STATE/pods/POD/containers/ID.spec      the OCI runtime specification (JSON), for verbose info
//
// STATE is a tmpfs: a copy costs no disk and lives as long as the processes it tells of. Copies are
// replaced as a whole (a reader sees the old or the new one) and their mode is 0600.
#ifndef BERTH_SERVER_STORE_RECORD_COPIES_H_
#define BERTH_SERVER_STORE_RECORD_COPIES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"
#include "proto/berth/store/v1/store.pb.h"

namespace berth {

class RecordCopies {
 public:
  struct All {
    std::vector<store::v1::PodRecord> pods;
    std::vector<store::v1::ContainerRecord> containers;
  };

  explicit RecordCopies(const std::string& state_dir) : pods_dir_(state_dir + "/pods") {}

  // Makes STATE/pods.
  absl::Status Prepare() const;

  absl::Status Write(const store::v1::PodRecord& record) const;
  absl::Status Write(const store::v1::ContainerRecord& record) const;
  // Missing files are OK. Removing a pod's takes those of its containers along, and the pod's
  // directory if nothing of others is in it.
  absl::Status RemovePod(const PodId& pod) const;
  absl::Status RemoveContainer(const PodId& pod, const ContainerId& container) const;

  // Every copy that is whole and lies where its ids say; others are passed over and logged.
  absl::StatusOr<All> Load() const;

  // The specification of a container, kept here and not in the database: it is large, can be made
  // again, and is wanted for verbose info only. NotFound if it was not written in this boot.
  absl::Status WriteSpec(const PodId& pod, const ContainerId& container,
                         absl::string_view json) const;
  absl::StatusOr<std::string> ReadSpec(const PodId& pod, const ContainerId& container) const;

 private:
  std::string PodDir(const std::string& pod) const { return pods_dir_ + "/" + pod; }

  const std::string pods_dir_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STORE_RECORD_COPIES_H_
