#include "server/images/digest.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {

absl::Status CheckDigest(absl::string_view digest) {
  const size_t colon = digest.find(':');
  if (colon == absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("digest \"", absl::CHexEscape(digest.substr(0, 160)), "\" has no algorithm"));
  }
  const absl::string_view algorithm = digest.substr(0, colon);
  const absl::string_view hex = digest.substr(colon + 1);
  size_t want = 0;
  if (algorithm == "sha256") want = 64;
  if (algorithm == "sha512") want = 128;
  if (want == 0) {
    return absl::InvalidArgumentError(absl::StrCat("digest algorithm \"",
                                                   absl::CHexEscape(algorithm.substr(0, 64)),
                                                   "\" is neither sha256 nor sha512"));
  }
  if (hex.size() != want) {
    return absl::InvalidArgumentError(
        absl::StrCat("a ", algorithm, " digest has ", want, " hex digits, not ", hex.size()));
  }
  for (const char c : hex) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
      return absl::InvalidArgumentError(
          absl::StrCat("digest ", algorithm, ": has a character that is no lower-case hex digit"));
    }
  }
  return absl::OkStatus();
}

absl::string_view DigestAlgorithm(absl::string_view digest) {
  return digest.substr(0, digest.find(':'));
}

absl::string_view DigestHex(absl::string_view digest) {
  return digest.substr(digest.find(':') + 1);
}

DigestHasher::DigestHasher(absl::string_view algorithm)
    : algorithm_(algorithm), context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_),
                    algorithm_ == "sha512" ? EVP_sha512() : EVP_sha256(), nullptr);
}

DigestHasher::~DigestHasher() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

void DigestHasher::Update(absl::string_view data) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), data.data(), data.size());
}

std::string DigestHasher::Finish() {
  unsigned char sum[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), sum, &size);
  return absl::StrCat(
      algorithm_, ":",
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(sum), size)));
}

std::string DigestOf(absl::string_view algorithm, absl::string_view data) {
  DigestHasher hasher(algorithm);
  hasher.Update(data);
  return hasher.Finish();
}

absl::Status VerifyDigest(absl::string_view expected, absl::string_view data,
                          absl::string_view what) {
  RETURN_IF_ERROR_WITH(CheckDigest(expected), what);
  const std::string actual = DigestOf(DigestAlgorithm(expected), data);
  if (actual == expected) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(what, ": content has digest ", actual, " instead of ", expected));
}

}  // namespace berth
