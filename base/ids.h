// Identifiers as types, so that two of different meaning are never swapped.
#ifndef BERTH_BASE_IDS_H_
#define BERTH_BASE_IDS_H_

#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace berth {

// A string with a meaning. `Tag` makes the types distinct. Hashable, ordered, printable by str().
template <typename Tag>
class StringId {
 public:
  StringId() = default;
  explicit StringId(std::string value) : value_(std::move(value)) {}
  const std::string& str() const { return value_; }
  bool empty() const { return value_.empty(); }

  friend bool operator==(const StringId& a, const StringId& b) { return a.value_ == b.value_; }
  friend bool operator!=(const StringId& a, const StringId& b) { return a.value_ != b.value_; }
  friend bool operator<(const StringId& a, const StringId& b) { return a.value_ < b.value_; }
  template <typename H>
  friend H AbslHashValue(H h, const StringId& id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  std::string value_;
};

// A pod sandbox and a container: 64 lower-case hex digits.
using PodId = StringId<struct PodIdTag>;
using ContainerId = StringId<struct ContainerIdTag>;
// The name of a writable layer; a container's is its container ID.
using SnapshotId = StringId<struct SnapshotIdTag>;
// One unpacked copy of a layer below ROOT/layers; random.
using LayerGeneration = StringId<struct LayerGenerationTag>;
// The digest of an uncompressed layer tar, `sha256:HEX` (OCI image-spec, config.md, "Layer DiffID").
using DiffId = StringId<struct DiffIdTag>;
// The digest of a blob as a registry serves it, `sha256:HEX`.
using Digest = StringId<struct DigestTag>;
// An image's identity: its config's digest.
using ImageId = StringId<struct ImageIdTag>;

// 64 random lower-case hex digits from getrandom(2).
std::string RandomHexId();
PodId NewPodId();
ContainerId NewContainerId();

// 16 lower-case hex digits that name the daemon that owns ROOT: the first of the SHA-256 of its real
// path. Names of namespaces, cgroups and keepers carry it, and a daemon sweeps only its own.
using InstanceId = StringId<struct InstanceIdTag>;

}  // namespace berth

#endif  // BERTH_BASE_IDS_H_
