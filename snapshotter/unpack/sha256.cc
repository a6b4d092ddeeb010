#include "snapshotter/unpack/sha256.h"

#include <cstdlib>

#include "absl/strings/escaping.h"

namespace berth {

std::string HexOf(const Sha256Value& value) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(value.data()), value.size()));
}

Sha256::Sha256()
    : algorithm_(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(EVP_MD_CTX_new()) {
  // Fails only without memory or with a broken OpenSSL.
  if (algorithm_ == nullptr || context_ == nullptr ||
      EVP_DigestInit_ex2(context_, algorithm_, nullptr) != 1) {
    abort();
  }
}

Sha256::~Sha256() {
  EVP_MD_CTX_free(context_);
  EVP_MD_free(algorithm_);
}

void Sha256::Add(absl::string_view bytes) {
  EVP_DigestUpdate(context_, bytes.data(), bytes.size());
}

Sha256Value Sha256::Finish() {
  Sha256Value value;
  EVP_DigestFinal_ex(context_, value.data(), nullptr);
  EVP_DigestInit_ex2(context_, algorithm_, nullptr);
  return value;
}

}  // namespace berth
