// Image references: the grammar of the distribution project with Docker Hub's short forms.
//
//   [HOST[:PORT]/]PATH[:TAG][@DIGEST]
//
// The part before the first slash is a host if it has a dot, a colon or an upper-case letter, or is
// `localhost`. Without a host it is docker.io, and a docker.io path of one part is below library/.
#ifndef BERTH_SERVER_IMAGES_REFERENCE_H_
#define BERTH_SERVER_IMAGES_REFERENCE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"

namespace berth {

struct ImageReference {
  std::string registry;    // docker.io, localhost:5000, [::1]:5000
  std::string repository;  // library/busybox
  std::string tag;         // empty only if there is a digest
  Digest digest;           // may be empty

  // docker.io/library/busybox
  std::string Name() const { return registry + "/" + repository; }
  // docker.io/library/busybox:latest; empty without a tag
  std::string TagName() const { return tag.empty() ? "" : Name() + ":" + tag; }
  // docker.io/library/busybox@sha256:...
  std::string DigestName(const Digest& of) const { return Name() + "@" + of.str(); }
  // The whole, normalised.
  std::string ToString() const;
};

// Parses and normalises; a reference without tag and digest gets the tag `latest`. InvalidArgument says
// which part breaks which rule. Limits: repository 255, tag 128, the whole 4096 characters.
absl::StatusOr<ImageReference> ParseReference(absl::string_view text);

// The host that serves a registry's API: registry-1.docker.io for docker.io, else the same.
std::string RegistryApiHost(absl::string_view registry);

// The registry that a host name or URL stands for: docker.io for https://index.docker.io/v1/ and its
// other names, else HOST[:PORT].
std::string RegistryOfAddress(absl::string_view address);

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_REFERENCE_H_
