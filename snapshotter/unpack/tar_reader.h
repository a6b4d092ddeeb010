// Reads a tar by libarchive and hands its entries on, in order.
#ifndef BERTH_SNAPSHOTTER_UNPACK_TAR_READER_H_
#define BERTH_SNAPSHOTTER_UNPACK_TAR_READER_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "snapshotter/unpack/layer_writer.h"

struct archive;
struct archive_entry;

namespace berth {

class TarReader {
 public:
  // The next piece of the tar, valid until the next call; empty at the end.
  using Input = std::function<absl::StatusOr<absl::string_view>()>;
  using OnEntry = std::function<absl::Status(const TarEntry& entry, const ContentReader& content)>;

  explicit TarReader(Input input);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // Takes what reading needs, before confinement.
  absl::Status Prepare();
  // Reads to the tar's end; what follows it in the stream stays unread. InvalidArgument if it is no
  // tar or breaks off; an error of the input or of `on_entry` as it is.
  absl::Status ReadAll(const OnEntry& on_entry);

 private:
  struct Free {
    void operator()(archive* archive) const;
  };
  static TarEntry Convert(archive_entry* entry);
  absl::StatusOr<bool> NextPiece(ContentPiece* piece);
  absl::Status Broken(absl::string_view where);

  const Input input_;
  absl::Status input_status_;
  std::unique_ptr<archive, Free> archive_;
};

}  // namespace berth

#endif  // BERTH_SNAPSHOTTER_UNPACK_TAR_READER_H_
