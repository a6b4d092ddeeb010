// Content digests, ALGORITHM:HEX (OCI image-spec v1.1, descriptor.md, "Digests"): checking their form
// and computing them.
#ifndef BERTH_SERVER_IMAGES_DIGEST_H_
#define BERTH_SERVER_IMAGES_DIGEST_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"

namespace berth {

// OK for sha256: with 64 and sha512: with 128 lower-case hex digits; InvalidArgument says what is
// wrong with anything else.
absl::Status CheckDigest(absl::string_view digest);

// "sha256" or "sha512" of a checked digest, and the hex digits after the colon.
absl::string_view DigestAlgorithm(absl::string_view digest);
absl::string_view DigestHex(absl::string_view digest);

// Computes one digest over a stream of bytes.
class DigestHasher {
 public:
  // `algorithm` is sha256 or sha512.
  explicit DigestHasher(absl::string_view algorithm);
  ~DigestHasher();
  DigestHasher(const DigestHasher&) = delete;
  DigestHasher& operator=(const DigestHasher&) = delete;

  void Update(absl::string_view data);
  // ALGORITHM:HEX of all bytes so far. Call it once, last.
  std::string Finish();

 private:
  std::string algorithm_;
  void* context_;  // EVP_MD_CTX
};

std::string DigestOf(absl::string_view algorithm, absl::string_view data);

// DataLoss, naming `what`, unless `data` has the digest `expected` (which is checked for its form).
absl::Status VerifyDigest(absl::string_view expected, absl::string_view data,
                          absl::string_view what);

}  // namespace berth

#endif  // BERTH_SERVER_IMAGES_DIGEST_H_
