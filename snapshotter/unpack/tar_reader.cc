#include "snapshotter/unpack/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace berth {
namespace {

std::string Text(const char* text) { return text == nullptr ? std::string() : text; }

}  // namespace

void TarReader::Free::operator()(archive* archive) const { archive_read_free(archive); }

TarReader::TarReader(Input input) : input_(std::move(input)) {}
TarReader::~TarReader() = default;

absl::Status TarReader::Prepare() {
  archive_.reset(archive_read_new());
  if (!archive_) return absl::ResourceExhaustedError("libarchive: out of memory");
  if (archive_read_support_format_tar(archive_.get()) != ARCHIVE_OK ||
      archive_read_support_format_empty(archive_.get()) != ARCHIVE_OK) {
    return Broken("prepare to read tar");
  }
  // `._NAME` is a file like any other here.
  archive_read_set_format_option(archive_.get(), "tar", "mac-ext", nullptr);
  return absl::OkStatus();
}

absl::Status TarReader::ReadAll(const OnEntry& on_entry) {
  const auto read = [](archive* archive, void* self, const void** data) -> la_ssize_t {
    auto* reader = static_cast<TarReader*>(self);
    const absl::StatusOr<absl::string_view> piece = reader->input_();
    if (!piece.ok()) {
      reader->input_status_ = piece.status();
      archive_set_error(archive, EIO, "input");
      return -1;
    }
    *data = piece->data();
    return static_cast<la_ssize_t>(piece->size());
  };
  if (archive_read_open(archive_.get(), this, nullptr, read, nullptr) < ARCHIVE_WARN) {
    return Broken("open");
  }
  std::string last = "the first entry";
  while (true) {
    archive_entry* header = nullptr;
    const int result = archive_read_next_header(archive_.get(), &header);
    if (result == ARCHIVE_EOF) return input_status_;
    if (result < ARCHIVE_WARN) return Broken(absl::StrCat("at or after ", last));
    const TarEntry entry = Convert(header);
    last = absl::StrCat("entry ", absl::CHexEscape(absl::string_view(entry.path).substr(0, 300)));
    RETURN_IF_ERROR(on_entry(entry, [this](ContentPiece* piece) { return NextPiece(piece); }));
  }
}

TarEntry TarReader::Convert(archive_entry* header) {
  TarEntry entry;
  entry.path = Text(archive_entry_pathname(header));
  entry.mode = archive_entry_mode(header);
  if (const char* link = archive_entry_hardlink(header); link != nullptr) {
    entry.hard_link = true;
    entry.target = link;
  } else {
    entry.target = Text(archive_entry_symlink(header));
  }
  entry.uid = archive_entry_uid(header);
  entry.gid = archive_entry_gid(header);
  entry.mtime = {archive_entry_mtime(header), archive_entry_mtime_nsec(header)};
  entry.size = archive_entry_size(header);
  entry.device = makedev(archive_entry_rdevmajor(header), archive_entry_rdevminor(header));
  archive_entry_xattr_reset(header);
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  while (archive_entry_xattr_next(header, &name, &value, &size) == ARCHIVE_OK) {
    entry.xattrs.emplace_back(Text(name), std::string(static_cast<const char*>(value), size));
  }
  return entry;
}

absl::StatusOr<bool> TarReader::NextPiece(ContentPiece* piece) {
  const void* data = nullptr;
  size_t size = 0;
  la_int64_t offset = 0;
  const int result = archive_read_data_block(archive_.get(), &data, &size, &offset);
  if (result == ARCHIVE_EOF) return false;
  if (result < ARCHIVE_WARN) return Broken("in its content");
  piece->bytes = absl::string_view(static_cast<const char*>(data), size);
  piece->offset = static_cast<uint64_t>(offset);
  return true;
}

absl::Status TarReader::Broken(absl::string_view where) {
  if (!input_status_.ok()) return input_status_;
  const char* why = archive_error_string(archive_.get());
  return absl::InvalidArgumentError(
      absl::StrCat("tar: ", where, ": ", absl::CHexEscape(why == nullptr ? "unreadable" : why)));
}

}  // namespace berth
