// A blocking SPDY/3.1 client for tests: what crictl does, and what it must not.
#ifndef BERTH_TESTS_STREAMING_SPDY_CLIENT_H_
#define BERTH_TESTS_STREAMING_SPDY_CLIENT_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "server/streaming/spdy_frame.h"

namespace berth::testing {

// A URL as Exec, Attach and PortForward answer.
struct StreamUrl {
  std::string host;
  int port = 0;
  std::string path;
};
StreamUrl ParseUrl(const std::string& url);
absl::StatusOr<UniqueFd> ConnectTo(const StreamUrl& url);
// Sends `request` and reads the head of the answer (and no byte more than has come with it).
absl::StatusOr<std::string> Converse(int socket, const std::string& request, std::string* rest);
// The same on a connection of its own: the whole answer, until the server closes.
absl::StatusOr<std::string> AskOnce(const std::string& url, const std::string& request);

class SpdyClient : private SpdyVisitor {
 public:
  struct Options {
    std::vector<std::string> protocols = {"v4.channel.k8s.io"};
    // > 0: uses flow control with windows of this size.
    uint32_t window = 0;
  };
  struct Incoming {
    std::string bytes;
    bool replied = false;
    bool ended = false;
    bool reset = false;
  };

  // The answer's head is the error's message if it is not 101.
  static absl::StatusOr<std::unique_ptr<SpdyClient>> Connect(const std::string& url,
                                                             const Options& options);
  static absl::StatusOr<std::unique_ptr<SpdyClient>> Connect(const std::string& url) {
    return Connect(url, Options());
  }

  uint32_t Open(const SpdyHeaders& headers, bool fin = false);
  // The five kinds of exec and attach by name.
  uint32_t OpenTyped(const std::string& type) { return Open({{"streamtype", type}}); }
  void Send(uint32_t stream, absl::string_view bytes, bool fin = false);
  void SendFrame(absl::string_view frame);
  void Reset(uint32_t stream) { SendFrame(SpdyWriter::Reset(stream, SpdyReset::kCancel)); }

  // Reads frames until `done` or the connection's end; false at the deadline.
  bool ReadUntil(const std::function<bool()>& done, absl::Duration patience = absl::Seconds(20));
  // Until the stream has ended: its bytes.
  std::string ReadAll(uint32_t stream);
  // Until it has `text` in it.
  bool ReadText(uint32_t stream, absl::string_view text);

  Incoming& stream(uint32_t id) { return streams_[id]; }
  bool closed() const { return closed_; }
  uint32_t go_away() const { return go_away_; }
  uint32_t last_ping() const { return ping_; }
  const std::string& head() const { return head_; }
  int socket() const { return socket_.get(); }
  // Bytes that the server has opened the stream's window by; 0: the connection's.
  uint64_t opened(uint32_t stream) const {
    const auto found = windows_.find(stream);
    return found == windows_.end() ? 0 : found->second;
  }
  // Closes without a word.
  void Drop() { socket_.reset(); }
  // Bytes counted rather than kept, for gigabytes.
  void CountOnly() { count_only_ = true; }
  uint64_t counted() const { return counted_; }

 private:
  SpdyClient(UniqueFd socket, std::string head, const Options& options)
      : socket_(std::move(socket)), head_(std::move(head)), options_(options), reader_(this) {}
  void OnSynStream(uint32_t, bool, const SpdyHeaders&) override {}
  void OnSynReply(uint32_t id, bool fin, const SpdyHeaders&) override;
  void OnHeaders(uint32_t, bool, const SpdyHeaders&) override {}
  void OnReset(uint32_t id, uint32_t status) override;
  void OnInitialWindow(uint32_t) override {}
  void OnPing(uint32_t id) override { ping_ = id; }
  void OnGoAway(uint32_t status) override { go_away_ = status; }
  void OnWindowUpdate(uint32_t stream, uint32_t delta) override { windows_[stream] += delta; }
  void OnData(uint32_t id, absl::string_view bytes, bool fin) override;
  bool ReadOnce(absl::Time deadline);

  UniqueFd socket_;
  const std::string head_;
  const Options options_;
  SpdyReader reader_;
  SpdyWriter writer_;
  uint32_t next_ = 1;
  std::map<uint32_t, Incoming> streams_;
  std::map<uint32_t, uint64_t> windows_;  // what the server has opened
  bool closed_ = false;
  uint32_t go_away_ = ~0u;
  uint32_t ping_ = 0;
  bool count_only_ = false;
  uint64_t counted_ = 0;
};

// The streams of an exec or attach, opened as crictl does.
struct CommandClient {
  std::unique_ptr<SpdyClient> spdy;
  uint32_t error = 0, in = 0, out = 0, err = 0, resize = 0;
};
absl::StatusOr<CommandClient> OpenCommand(const std::string& url, bool in, bool out, bool err,
                                          bool tty, const SpdyClient::Options& options);

}  // namespace berth::testing

#endif  // BERTH_TESTS_STREAMING_SPDY_CLIENT_H_
