// The command line's connection to a streaming URL: SPDY/3.1 frames over a socket, for a poll loop.
#ifndef BERTH_CLI_SPDY_CONNECTION_H_
#define BERTH_CLI_SPDY_CONNECTION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "server/streaming/spdy_frame.h"

namespace berth::cli {

class SpdyConnection : private SpdyVisitor {
 public:
  // What has come for a stream; `end`: nothing more will.
  using OnBytes = std::function<void(uint32_t stream, absl::string_view bytes, bool end)>;

  // `url` as Exec, Attach and PortForward answer, on this machine. Blocks. Unavailable with the
  // server's answer if it refuses.
  static absl::StatusOr<std::unique_ptr<SpdyConnection>> Open(const std::string& url,
                                                              const std::string& protocol,
                                                              OnBytes on_bytes);

  uint32_t OpenStream(const SpdyHeaders& headers);
  void Send(uint32_t stream, absl::string_view bytes);
  void Finish(uint32_t stream);
  void Reset(uint32_t stream);

  // For poll: the socket, whether it is to be written to, and what to do when it is ready. False from
  // OnReady: the connection has ended.
  int socket() const { return socket_.get(); }
  bool sending() const { return !outgoing_.empty(); }
  bool OnReady();

 private:
  SpdyConnection(UniqueFd socket, OnBytes on_bytes)
      : socket_(std::move(socket)), on_bytes_(std::move(on_bytes)), reader_(this) {}
  void OnSynStream(uint32_t, bool, const SpdyHeaders&) override {}
  void OnSynReply(uint32_t id, bool fin, const SpdyHeaders&) override {
    if (fin) on_bytes_(id, "", true);
  }
  void OnHeaders(uint32_t, bool, const SpdyHeaders&) override {}
  void OnReset(uint32_t id, uint32_t) override { on_bytes_(id, "", true); }
  void OnInitialWindow(uint32_t) override {}
  void OnPing(uint32_t id) override;
  void OnGoAway(uint32_t) override {}
  void OnWindowUpdate(uint32_t, uint32_t) override {}
  void OnData(uint32_t id, absl::string_view bytes, bool fin) override {
    on_bytes_(id, bytes, fin);
  }

  const UniqueFd socket_;
  const OnBytes on_bytes_;
  SpdyReader reader_;
  SpdyWriter writer_;
  uint32_t next_stream_ = 1;
  std::string outgoing_;
};

}  // namespace berth::cli

#endif  // BERTH_CLI_SPDY_CONNECTION_H_
