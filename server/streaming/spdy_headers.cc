#include "server/streaming/spdy_headers.h"

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace berth {
namespace {

// The dictionary's first part is words with their lengths, its second is plain text.
constexpr const char* kWords[] = {"options",
                                  "head",
                                  "post",
                                  "put",
                                  "delete",
                                  "trace",
                                  "accept",
                                  "accept-charset",
                                  "accept-encoding",
                                  "accept-language",
                                  "accept-ranges",
                                  "age",
                                  "allow",
                                  "authorization",
                                  "cache-control",
                                  "connection",
                                  "content-base",
                                  "content-encoding",
                                  "content-language",
                                  "content-length",
                                  "content-location",
                                  "content-md5",
                                  "content-range",
                                  "content-type",
                                  "date",
                                  "etag",
                                  "expect",
                                  "expires",
                                  "from",
                                  "host",
                                  "if-match",
                                  "if-modified-since",
                                  "if-none-match",
                                  "if-range",
                                  "if-unmodified-since",
                                  "last-modified",
                                  "location",
                                  "max-forwards",
                                  "pragma",
                                  "proxy-authenticate",
                                  "proxy-authorization",
                                  "range",
                                  "referer",
                                  "retry-after",
                                  "server",
                                  "te",
                                  "trailer",
                                  "transfer-encoding",
                                  "upgrade",
                                  "user-agent",
                                  "vary",
                                  "via",
                                  "warning",
                                  "www-authenticate",
                                  "method",
                                  "get",
                                  "status",
                                  "200 OK",
                                  "version",
                                  "HTTP/1.1",
                                  "url",
                                  "public",
                                  "set-cookie",
                                  "keep-alive",
                                  "origin"};
constexpr char kText[] =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 "
    "Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
    "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

void PutNumber(uint32_t value, std::string* out) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

void PutText(absl::string_view text, std::string* out) {
  PutNumber(static_cast<uint32_t>(text.size()), out);
  out->append(text.data(), text.size());
}

std::string MakeDictionary() {
  std::string dictionary;
  for (const char* word : kWords) PutText(word, &dictionary);
  return dictionary + kText;
}

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("header block: ", what));
}

bool TakeNumber(absl::string_view* block, uint32_t* value) {
  if (block->size() < 4) return false;
  *value = 0;
  for (int i = 0; i < 4; ++i) *value = *value << 8 | static_cast<uint8_t>((*block)[i]);
  block->remove_prefix(4);
  return true;
}

bool TakeText(absl::string_view* block, std::string* text) {
  uint32_t size;
  if (!TakeNumber(block, &size) || size > block->size()) return false;
  *text = std::string(block->substr(0, size));
  block->remove_prefix(size);
  return true;
}

Bytef* BytesOf(absl::string_view text) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
}

}  // namespace

const std::string& SpdyHeaderDictionary() {
  static const std::string* const dictionary = new std::string(MakeDictionary());
  return *dictionary;
}

std::string FindSpdyHeader(const SpdyHeaders& headers, absl::string_view name) {
  for (const auto& [header, value] : headers) {
    if (absl::EqualsIgnoreCase(header, name)) return value.substr(0, value.find('\0'));
  }
  return "";
}

struct SpdyHeaderReader::Inflater {
  z_stream z{};
  bool good = false;
};

// Window bits 0: as large as the peer's compressor says.
SpdyHeaderReader::SpdyHeaderReader() : inflater_(std::make_unique<Inflater>()) {
  inflater_->good = inflateInit2(&inflater_->z, 0) == Z_OK;
}
SpdyHeaderReader::~SpdyHeaderReader() { inflateEnd(&inflater_->z); }

absl::StatusOr<std::string> SpdyHeaderReader::Inflate(absl::string_view block) {
  if (!inflater_->good) return Malformed("follows one that could not be read");
  z_stream& z = inflater_->z;
  z.next_in = BytesOf(block);
  z.avail_in = static_cast<uInt>(block.size());
  std::string out(kMaxSpdyHeaderBytes + 1, '\0');
  z.next_out = BytesOf(out);
  z.avail_out = static_cast<uInt>(out.size());
  inflater_->good = false;
  while (z.avail_in > 0) {
    int result = inflate(&z, Z_SYNC_FLUSH);
    if (result == Z_NEED_DICT) {
      const std::string& dictionary = SpdyHeaderDictionary();
      result = inflateSetDictionary(&z, BytesOf(dictionary), static_cast<uInt>(dictionary.size()));
    }
    if (result != Z_OK) return Malformed("is no zlib stream with SPDY's dictionary");
    if (z.avail_out == 0) return Malformed("is too large");
  }
  inflater_->good = true;
  out.resize(out.size() - z.avail_out);
  return out;
}

absl::StatusOr<SpdyHeaders> SpdyHeaderReader::Read(absl::string_view block) {
  absl::StatusOr<std::string> text = Inflate(block);
  if (!text.ok()) return text.status();
  inflater_->good = false;
  absl::string_view rest = *text;
  uint32_t count;
  if (!TakeNumber(&rest, &count)) return Malformed("has no count");
  if (count > kMaxSpdyHeaderCount) return Malformed("has too many headers");
  SpdyHeaders headers(count);
  for (auto& [name, value] : headers) {
    if (!TakeText(&rest, &name) || !TakeText(&rest, &value)) return Malformed("is cut short");
    if (name.empty()) return Malformed("has a header without a name");
  }
  if (!rest.empty()) return Malformed("goes on after its last header");
  inflater_->good = true;
  return headers;
}

struct SpdyHeaderWriter::Deflater {
  z_stream z{};
};

// The least memory that takes the dictionary: a window of 2 KiB. Its own allocations are zlib's.
SpdyHeaderWriter::SpdyHeaderWriter() : deflater_(std::make_unique<Deflater>()) {
  z_stream& z = deflater_->z;
  const std::string& dictionary = SpdyHeaderDictionary();
  if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY) != Z_OK ||
      deflateSetDictionary(&z, BytesOf(dictionary), static_cast<uInt>(dictionary.size())) != Z_OK) {
    std::abort();  // out of memory
  }
}
SpdyHeaderWriter::~SpdyHeaderWriter() { deflateEnd(&deflater_->z); }

std::string SpdyHeaderWriter::Write(const SpdyHeaders& headers) {
  std::string plain;
  PutNumber(static_cast<uint32_t>(headers.size()), &plain);
  for (const auto& [name, value] : headers) {
    PutText(name, &plain);
    PutText(value, &plain);
  }
  z_stream& z = deflater_->z;
  z.next_in = BytesOf(plain);
  z.avail_in = static_cast<uInt>(plain.size());
  std::string out;
  char buffer[512];
  do {
    z.next_out = reinterpret_cast<Bytef*>(buffer);
    z.avail_out = sizeof buffer;
    deflate(&z, Z_SYNC_FLUSH);
    out.append(buffer, sizeof buffer - z.avail_out);
  } while (z.avail_out == 0);
  return out;
}

}  // namespace berth
