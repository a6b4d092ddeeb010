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
    Deliver();
  }

  boost::asio::io_context* io() const { return io_; }
  size_t size() const { return bytes_.size(); }
  bool ended() const { return ended_; }
  // Called when the reader has taken bytes.
  void SetOnTaken(std::function<void(size_t)> on_taken) { on_taken_ = std::move(on_taken); }
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
    if (size > 0 && on_taken_) on_taken_(size);
  }

  boost::asio::io_context* const io_;
  std::string bytes_;
  bool ended_ = false;
  Stream::ReadDone reader_;
  std::function<void(size_t)> on_taken_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_INBOX_H_
