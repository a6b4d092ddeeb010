#include "snapshotter/unpack/digest_list.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/files.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr char kHeader[] = "berth-digests 1\n";
constexpr size_t kBufferBytes = 64 << 10;

std::string Escape(absl::string_view path) {
  std::string text;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == 0x7f || c == '\\') {
      absl::StrAppendFormat(&text, "\\x%02x", byte);
    } else {
      text += c;
    }
  }
  return text;
}

absl::Status Damaged(absl::string_view line) {
  return absl::DataLossError(
      absl::StrCat("digest list: bad line: ", absl::CHexEscape(line.substr(0, 200))));
}

absl::StatusOr<std::string> Unescape(absl::string_view text) {
  std::string path;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      path += text[i];
      continue;
    }
    if (i + 3 >= text.size() || text[i + 1] != 'x' || !absl::ascii_isxdigit(text[i + 2]) ||
        !absl::ascii_isxdigit(text[i + 3])) {
      return Damaged(text);
    }
    path += absl::HexStringToBytes(text.substr(i + 2, 2));
    i += 3;
  }
  return path;
}

absl::StatusOr<DigestRecord> ParseRecord(absl::string_view line) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
  if (fields.size() != 9 || fields[0].size() != 1) return Damaged(line);
  DigestRecord record;
  record.kind = static_cast<DigestKind>(fields[0][0]);
  if (std::string("fdilcbphwor").find(fields[0][0]) == std::string::npos) return Damaged(line);
  const std::pair<absl::string_view, absl::string_view> mtime =
      absl::StrSplit(fields[5], absl::MaxSplits('.', 1));
  const char* const mode_end = fields[1].data() + fields[1].size();
  if (std::from_chars(fields[1].data(), mode_end, record.mode, 8).ptr != mode_end ||
      !absl::SimpleAtoi(fields[2], &record.uid) || !absl::SimpleAtoi(fields[3], &record.gid) ||
      !absl::SimpleAtoi(fields[4], &record.size) || !absl::SimpleAtoi(mtime.first, &record.mtime) ||
      !absl::SimpleAtoi(mtime.second, &record.mtime_ns)) {
    return Damaged(line);
  }
  ASSIGN_OR_RETURN(record.digest, Unescape(fields[6]));
  record.xattrs = std::string(fields[7]);
  ASSIGN_OR_RETURN(record.path, Unescape(fields[8]));
  return record;
}

void EraseTree(absl::btree_map<std::string, DigestRecord>& records, const std::string& path) {
  records.erase(path);
  const auto begin = records.lower_bound(path + "/");
  const auto end = records.lower_bound(path + "0");  // '0' follows '/'
  records.erase(begin, end);
}

}  // namespace

std::string XattrDigest(Xattrs xattrs) {
  if (xattrs.empty()) return "-";
  std::sort(xattrs.begin(), xattrs.end());
  Sha256 sha256;
  for (const auto& [name, value] : xattrs) {
    sha256.Add(absl::StrCat(name.size(), ":", name, value.size(), ":", value));
  }
  return HexOf(sha256.Finish()).substr(0, 16);
}

DigestListWriter::DigestListWriter(int fd) : fd_(fd), buffer_(kHeader) {}

absl::Status DigestListWriter::Add(const DigestRecord& record) {
  return Append(absl::StrFormat("%c %o %u %u %u %d.%09u %s %s %s\n", static_cast<char>(record.kind),
                                record.mode, record.uid, record.gid, record.size, record.mtime,
                                record.mtime_ns,
                                record.digest.empty() ? "-" : Escape(record.digest),
                                record.xattrs.empty() ? "-" : record.xattrs, Escape(record.path)));
}

absl::StatusOr<uint64_t> DigestListWriter::AddImplied(const std::vector<std::string>& paths) {
  RETURN_IF_ERROR(Flush());
  const uint64_t offset = offset_;
  for (const std::string& path : paths) {
    RETURN_IF_ERROR(Append(absl::StrCat("I ", Escape(path), "\n")));
  }
  return offset;
}

absl::StatusOr<Sha256Value> DigestListWriter::Finish() {
  RETURN_IF_ERROR(Flush());
  return sha256_.Finish();
}

absl::Status DigestListWriter::Append(absl::string_view line) {
  buffer_.append(line.data(), line.size());
  return buffer_.size() < kBufferBytes ? absl::OkStatus() : Flush();
}

absl::Status DigestListWriter::Flush() {
  sha256_.Add(buffer_);
  offset_ += buffer_.size();
  RETURN_IF_ERROR_WITH(WriteFd(fd_, buffer_), "digest list");
  buffer_.clear();
  return absl::OkStatus();
}

absl::StatusOr<absl::btree_map<std::string, DigestRecord>> ParseDigestList(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, kHeader)) return absl::DataLossError("digest list: bad header");
  absl::btree_map<std::string, DigestRecord> records;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (line.substr(0, 2) == "I ") continue;
    ASSIGN_OR_RETURN(DigestRecord record, ParseRecord(line));
    const auto old = records.find(record.path);
    if (record.kind == DigestKind::kRemoved) {
      EraseTree(records, record.path);
    } else if (record.kind == DigestKind::kOpaque) {
      if (old == records.end()) {  // the root has no other record
        if (!record.path.empty()) return Damaged(line);
        continue;
      }
      old->second.opaque = true;
    } else if (record.kind == DigestKind::kHardLink) {
      const auto target = records.find(record.digest);
      if (target == records.end()) return Damaged(line);
      DigestRecord same = target->second;
      same.path = record.path;
      records[record.path] = std::move(same);
    } else {
      record.opaque = old != records.end() && old->second.opaque;
      records[record.path] = std::move(record);
    }
  }
  return records;
}

absl::StatusOr<std::vector<std::string>> ParseImplied(absl::string_view tail) {
  std::vector<std::string> paths;
  for (absl::string_view line : absl::StrSplit(tail, '\n', absl::SkipEmpty())) {
    if (!absl::ConsumePrefix(&line, "I ")) return Damaged(line);
    ASSIGN_OR_RETURN(std::string path, Unescape(line));
    paths.push_back(std::move(path));
  }
  return paths;
}

}  // namespace berth
