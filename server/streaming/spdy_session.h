// One SPDY/3.1 connection, server side: streams that the client opens, flow control, back-pressure.
//
//   auto session = SpdySession::Start(&io, std::move(bytes), "", options,
//       [](StreamPtr stream, const SpdyHeaders& headers) { ...; return true; });
//
// Flow control: a client that has sent SETTINGS with an initial window or any WINDOW_UPDATE is held to its
// windows from then on. Kubernetes' clients do neither and never open a window, so that windows would
// stop each stream after 64 KiB; for them TCP is what slows a sender. The other way WINDOW_UPDATEs go out
// as streams are read, for the connection as a whole as bytes come in: so a stream that nobody reads stops
// itself only. Whatever the client does, the connection is not read while kMaxUnread bytes wait for their
// readers; whose they are hears it (Stream::SetOnStalled).
#ifndef BERTH_SERVER_STREAMING_SPDY_SESSION_H_
#define BERTH_SERVER_STREAMING_SPDY_SESSION_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "server/streaming/byte_stream.h"
#include "server/streaming/spdy_frame.h"
#include "server/streaming/stream.h"

namespace berth {

// On the loop's thread.
class SpdySession : public ClientConnection,
                    private SpdyVisitor,
                    public std::enable_shared_from_this<SpdySession> {
 public:
  struct Options {
    std::chrono::milliseconds idle = std::chrono::hours(4);  // without a byte in either direction
    size_t max_streams = 1000;
  };
  // True takes the stream; it is answered with SYN_REPLY, else with RST_STREAM.
  using OnStream = std::function<bool(StreamPtr stream, const SpdyHeaders& headers)>;

  // `early`: bytes that were read behind the upgrade's request.
  static std::shared_ptr<SpdySession> Start(boost::asio::io_context* io,
                                            std::unique_ptr<ByteStream> bytes, std::string early,
                                            const Options& options, OnStream on_stream);
  ~SpdySession() override;

  void Close() override;
  void Abort() override;
  void SetOnClosed(std::function<void()> on_closed) override;

 private:
  class SessionStream;
  struct Outgoing {
    std::string head;
    absl::string_view body;
    Stream::WriteDone done;
  };

  SpdySession(boost::asio::io_context* io, std::unique_ptr<ByteStream> bytes,
              const Options& options, OnStream on_stream);

  void OnSynStream(uint32_t stream, bool fin, const SpdyHeaders& headers) override;
  void OnSynReply(uint32_t stream, bool fin, const SpdyHeaders& headers) override {}
  void OnHeaders(uint32_t stream, bool fin, const SpdyHeaders& headers) override;
  void OnReset(uint32_t stream, uint32_t status) override;
  void OnInitialWindow(uint32_t bytes) override;
  void OnPing(uint32_t id) override;
  void OnGoAway(uint32_t status) override;
  void OnWindowUpdate(uint32_t stream, uint32_t delta) override;
  void OnData(uint32_t stream, absl::string_view bytes, bool fin) override;

  void ReadMore();
  void OnBytes(bool ok, absl::string_view bytes);
  bool Full() const;
  void WaitWhileFull();
  void TellStalled();
  void Taken(SessionStream& stream, size_t bytes);
  void Credit(uint32_t stream, size_t bytes, uint64_t* owed);

  void Send(std::string frame, absl::string_view body = {}, Stream::WriteDone done = nullptr);
  void SendPending(SessionStream& stream);
  void SendAllPending();
  void Flush();
  void OnWritten(bool ok);

  std::shared_ptr<SessionStream> Find(uint32_t stream) const;
  void Forget(SessionStream& stream);
  void ForgetIfDone(SessionStream& stream);
  void Fail(SpdyGoAway status);
  void End();
  void WatchIdle();
  void Linger();

  boost::asio::io_context* const io_;
  const std::unique_ptr<ByteStream> bytes_;
  const Options options_;
  OnStream on_stream_;
  std::function<void()> on_closed_;
  SpdyReader reader_;
  SpdyWriter writer_;

  std::map<uint32_t, std::shared_ptr<SessionStream>> streams_;
  uint32_t last_stream_ = 0;
  bool reading_ = false;
  size_t unread_ = 0;                    // of all streams
  uint64_t owed_ = 0;                    // what the connection's window is to be opened by
  bool windows_ = false;                 // the client uses flow control
  int64_t window_ = kSpdyInitialWindow;  // the connection's
  int64_t initial_window_ = kSpdyInitialWindow;

  std::deque<Outgoing> outgoing_;
  size_t outgoing_control_ = 0;  // bytes of control frames in it
  std::deque<Outgoing> writing_;

  bool closing_ = false;  // goodbye was said
  bool lingering_ = false;
  bool waiting_while_full_ = false;
  bool ended_ = false;
  std::chrono::steady_clock::time_point active_;
  boost::asio::steady_timer idle_timer_;
  boost::asio::steady_timer full_timer_;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_SPDY_SESSION_H_
