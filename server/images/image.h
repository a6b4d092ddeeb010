// What the daemon knows of an image: plain data, shared and never changed once published.
#ifndef BERTH_SERVER_IMAGES_IMAGE_H_
#define BERTH_SERVER_IMAGES_IMAGE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"

namespace berth {

// The part of an OCI or Docker image configuration that a container is made from
// (image-spec v1.1, config.md). Lists keep the image's order; sets are sorted.
struct ImageConfig {
  std::string os;
  std::string architecture;  // GOARCH spelling: amd64, arm64, ...
  std::string variant;
  std::string created;  // RFC 3339 as the image has it; may be empty
  std::string user;     // "", "UID", "name", "UID:GID", ...
  std::vector<std::string> env;
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string working_dir;
  std::vector<std::string> volumes;        // paths inside the container
  std::vector<std::string> exposed_ports;  // "80/tcp"
  std::string stop_signal;                 // "", "SIGTERM", "15"
  std::map<std::string, std::string> labels;
};

struct Image {
  ImageId id;                             // the config's digest, sha256:HEX
  std::vector<std::string> repo_tags;     // docker.io/library/busybox:1.36; sorted
  std::vector<std::string> repo_digests;  // docker.io/library/busybox@sha256:HEX; sorted
  uint64_t size = 0;  // bytes: config and compressed layers, as the registry has them
  ImageConfig config;
  std::vector<DiffId> diff_ids;  // as the config has them, bottom first
  // Bottom first, as LayerStore::CompleteLayers made them: what Snapshotter::Prepare takes.
  std::vector<DiffId> layers;
  bool pinned = false;  // exempt from kubelet's garbage collection
};

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_IMAGE_H_
