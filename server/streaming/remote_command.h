// One exec or attach of a client, from its streams to its end.
//
//   streams agreed on → process started or container joined → pumps → exit → rest of the output
//   → status on the error stream → goodbye
//
// A client that goes away ends the exec's process tree; it leaves an attached container alone.
#ifndef BERTH_SERVER_STREAMING_REMOTE_COMMAND_H_
#define BERTH_SERVER_STREAMING_REMOTE_COMMAND_H_

#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/streaming/attach_output.h"
#include "server/streaming/pumps.h"
#include "server/streaming/stream.h"
#include "server/streaming/stream_loop.h"
#include "server/streaming/stream_protocol.h"
#include "server/streaming/terminal_size.h"

namespace berth {

// `error` always; the others as the request wants them, `resize` with a terminal.
struct CommandStreams {
  StreamPtr in, out, err, error, resize;
};

// On the loop's thread; it lives as long as the client's connection and what is under way.
class RemoteCommand : public std::enable_shared_from_this<RemoteCommand> {
 public:
  static std::shared_ptr<RemoteCommand> Run(const StreamLoop& loop, StreamRequest request,
                                            const StreamProtocol& protocol,
                                            ClientConnectionPtr connection, CommandStreams streams);
  // Ends it with this error for the client.
  void Fail(const absl::Status& status);

 private:
  RemoteCommand(const StreamLoop& loop, StreamRequest request, const StreamProtocol& protocol,
                ClientConnectionPtr connection, CommandStreams streams)
      : loop_(loop),
        request_(std::move(request)),
        protocol_(protocol),
        connection_(std::move(connection)),
        streams_(std::move(streams)) {}

  void Start();
  void OnExecStarted(absl::StatusOr<StartedExec> started);
  absl::Status JoinExec(StartedExec started);
  void OnAttached(absl::StatusOr<StartedAttach> attached);
  absl::Status JoinAttach(StartedAttach attached);
  void StartInput(UniqueFd to, InPump::AtEnd at_end);
  void StartOutput(UniqueFd from, const StreamPtr& to, std::shared_ptr<OutPump>* pump);
  absl::Status WaitForExit();
  void FinishIfDone();
  void ReadSizes();
  void Finish(const absl::StatusOr<int>& result);
  void OnClientGone();
  void StopAll();

  const StreamLoop loop_;
  const StreamRequest request_;
  const StreamProtocol protocol_;
  ClientConnectionPtr connection_;
  CommandStreams streams_;

  std::unique_ptr<Keeper::ExecSession> process_;
  std::optional<boost::asio::posix::stream_descriptor> exit_;
  std::optional<absl::StatusOr<int>> result_;
  std::shared_ptr<OutPump> out_, err_;
  std::shared_ptr<InPump> in_;
  std::shared_ptr<AttachOutput> attached_;
  UniqueFd terminal_;
  TerminalSizeReader sizes_;
  int open_outputs_ = 0;
  std::string status_;
  bool finished_ = false;
};

}  // namespace berth

#endif  // BERTH_SERVER_STREAMING_REMOTE_COMMAND_H_
