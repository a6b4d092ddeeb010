// What has come for a stream and waits for its reader.
#ifndef BERTH_SERVER_STREAMING_INBOX_H_
#define BERTH_SERVER_STREAMING_INBOX_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "server/streaming/stream.h"

namespace berth {

// On the loop's thread. The owner bounds it by not reading more from its client while it is full.
class Inbox {
 public:
  explicit Inbox(boost::asio::io_context* io) : io_(io) {}

  void Add(absl::string_view bytes) {
    if (ended_) return;
    bytes_.append(bytes.data(), bytes.size());
    Deliver();
  }
  void End() {
    ended_ = true;
    Deliver();
  }
  void Read(Stream::ReadDone done) {
    reader_ = std::move(done);
    was_read_ = true;
    Deliver();
  }

  boost::asio::io_context* io() const { return io_; }
  size_t size() const { return bytes_.size(); }
  bool ended() const { return ended_; }
  // Whether nobody waits for anything more: all was read and the end, too, if it is read at all.
  bool done() const { return ended_ && bytes_.empty() && (!was_read_ || end_was_read_); }
  // Called when the reader has taken bytes; with 0 when it has taken the end.
  void SetOnTaken(std::function<void(size_t)> on_taken) { on_taken_ = std::move(on_taken); }
  // Nobody wants what is left.
  void Clear() { std::string().swap(bytes_); }
  void Drop() {
    reader_ = nullptr;
    on_taken_ = nullptr;
  }

 private:
  void Deliver() {
    if (!reader_ || (bytes_.empty() && !ended_)) return;
    const size_t size = bytes_.size();
    boost::asio::post(*io_, [done = std::move(reader_), bytes = std::move(bytes_)]() mutable {
      done(std::move(bytes));
    });
    reader_ = nullptr;
    bytes_.clear();
    end_was_read_ = size == 0;
    if (on_taken_) on_taken_(size);  // which may be the end of this
  }

  boost::asio::io_context* const io_;
  std::string bytes_;
  bool ended_ = false;
  bool was_read_ = false;
  bool end_was_read_ = false;
  Stream::ReadDone reader_;
  std::function<void(size_t)> on_taken_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_INBOX_H_
