// SHA-256 (FIPS 180-4) by OpenSSL, piece by piece.
#ifndef BERTH_SNAPSHOTTER_UNPACK_SHA256_H_
#define BERTH_SNAPSHOTTER_UNPACK_SHA256_H_

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace berth {

using Sha256Value = std::array<uint8_t, 32>;

std::string HexOf(const Sha256Value& value);

// One thread. Usable again after Finish().
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Add(absl::string_view bytes);
  Sha256Value Finish();

 private:
  EVP_MD* algorithm_;  // fetched once: an implicit fetch for each file costs a lock and a look-up
  EVP_MD_CTX* context_;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_SHA256_H_
