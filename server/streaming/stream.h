// What exec, attach and port-forward see of a client: byte streams, whatever carries them.
//
// Threads: all of it lives on the streaming server's one thread. Callbacks are called from the loop,
// never from within the call that they belong to.
#ifndef BERTH_SERVER_STREAMING_STREAM_H_
#define BERTH_SERVER_STREAMING_STREAM_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace berth {

// One stream of a client's connection: a SPDY stream, or a channel of a WebSocket.
class Stream {
 public:
  virtual ~Stream() = default;

  // What the client has sent and nobody has read yet; "" when it has closed its side, or is gone. One
  // read at a time. What is not read keeps the client from sending without end.
  using ReadDone = std::function<void(std::string bytes)>;
  virtual void Read(ReadDone done) = 0;

  // Sends all of `bytes`, which have to stay until `done`: then they are on their way, as fast as the
  // client takes them. False: the client is gone. One write at a time.
  using WriteDone = std::function<void(bool ok)>;
  virtual void Write(absl::string_view bytes, WriteDone done) = 0;

  // No more will be written; the client may still send.
  virtual void Finish() = 0;
  // Whether the client hears of Finish; if not, only the connection's end tells it.
  virtual bool CanFinish() const { return true; }
  // Ends both sides at once.
  virtual void Reset() = 0;
  // Called once when the client has reset the stream or is gone, also after its end.
  virtual void SetOnDead(std::function<void()> on_dead) = 0;
  // Called again and again while nothing more is read from the client because too much waits, some of it
  // here, and there are others of its streams that are watched so. Not after the stream's death.
  virtual void SetOnStalled(std::function<void()> on_stalled) = 0;
};

using StreamPtr = std::shared_ptr<Stream>;

// The connection that streams belong to.
class ClientConnection {
 public:
  virtual ~ClientConnection() = default;
  // Sends what is on its way, says goodbye, and closes.
  virtual void Close() = 0;
  // Closes without a word.
  virtual void Abort() = 0;
  // Called once when the client has gone or Close is through; streams are dead then.
  virtual void SetOnClosed(std::function<void()> on_closed) = 0;

  // Keeps something for as long as the connection.
  void Hold(std::shared_ptr<void> held) { held_ = std::move(held); }

 private:
  std::shared_ptr<void> held_;
};

using ClientConnectionPtr = std::shared_ptr<ClientConnection>;

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_STREAM_H_
