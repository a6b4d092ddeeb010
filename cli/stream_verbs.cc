#include "cli/stream_verbs.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "cli/spdy_connection.h"
#include "nlohmann/json.hpp"

namespace berth::cli {
namespace {

// Raw while it lives, if it is a terminal.
class RawTerminal {
 public:
  RawTerminal() : good_(tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (!good_) return;
    termios raw = before_;
    cfmakeraw(&raw);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
  }
  ~RawTerminal() {
    if (good_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_{};
  const bool good_;
};

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};

int signal_pipe = -1;  // the handler's end; never closed

void OnSignal(int signal) {
  const int before = errno;
  const char byte = static_cast<char>(signal);
  (void)!write(signal_pipe, &byte, 1);
  errno = before;
}

// Signals as events, so that whatever ends us passes the destructors. By a handler, as a blocked signal
// goes to another thread, and gRPC has some.
absl::StatusOr<UniqueFd> TakeSignals() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return ErrnoStatus("pipe2");
  signal_pipe = ends[1];
  struct sigaction action{};
  action.sa_handler = OnSignal;
  for (const int signal : kSignals) sigaction(signal, &action, nullptr);
  return UniqueFd(ends[0]);
}

// The next one, 0 if there is none.
int NextSignal(int fd) {
  char byte;
  return read(fd, &byte, 1) == 1 ? byte : 0;
}

bool WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

// A member's text; "" without one.
std::string TextOf(const nlohmann::json& object, const char* member) {
  const auto found = object.find(member);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

absl::StatusOr<int> ExitCodeOf(const std::string& text) {
  const nlohmann::json status = nlohmann::json::parse(text, nullptr, false);
  if (!status.is_object()) return absl::UnavailableError("the session broke off");
  if (TextOf(status, "status") == "Success") return 0;
  if (TextOf(status, "reason") == "NonZeroExitCode") {
    const auto code = nlohmann::json::json_pointer("/details/causes/0/message");
    int number = 0;
    if (status.contains(code) && status[code].is_string() &&
        absl::SimpleAtoi(status[code].get<std::string>(), &number)) {
      return number;
    }
  }
  const std::string message = TextOf(status, "message");
  return absl::UnknownError(message.empty() ? "the session failed" : message);
}

class CommandSession {
 public:
  explicit CommandSession(const CommandOptions& options) : options_(options) {}

  absl::StatusOr<int> Run(const std::string& url) {
    ASSIGN_OR_RETURN(connection_,
                     SpdyConnection::Open(url, "v4.channel.k8s.io",
                                          [this](uint32_t id, absl::string_view bytes, bool end) {
                                            OnBytes(id, bytes, end);
                                          }));
    ASSIGN_OR_RETURN(const UniqueFd signals, TakeSignals());
    OpenStreams();
    std::unique_ptr<RawTerminal> raw;
    if (options_.tty) raw = std::make_unique<RawTerminal>();
    if (options_.tty) SendSize();
    bool reading = options_.in;
    while (!ended_) {
      // While something waits to be sent, no more is read.
      const bool more = reading && !connection_->sending();
      const short out = connection_->sending() ? POLLOUT : 0;
      pollfd fds[3] = {{connection_->socket(), static_cast<short>(POLLIN | out), 0},
                       {signals.get(), POLLIN, 0},
                       {more ? STDIN_FILENO : -1, POLLIN, 0}};
      if (poll(fds, 3, -1) < 0 && errno != EINTR) return ErrnoStatus("poll");
      if (fds[1].revents != 0) {
        const int signal = NextSignal(signals.get());
        if (signal == SIGWINCH && options_.tty) SendSize();
        if (signal != 0 && signal != SIGWINCH) return 128 + signal;
      }
      if (fds[2].revents != 0) reading = ReadInput();
      if ((fds[0].revents != 0 || connection_->sending()) && !connection_->OnReady()) break;
    }
    return ExitCodeOf(status_);
  }

 private:
  void OpenStreams() {
    const auto open = [this](const char* type) {
      return connection_->OpenStream({{"streamtype", type}});
    };
    error_ = open("error");
    if (options_.in) in_ = open("stdin");
    out_ = open("stdout");
    if (options_.tty) {
      resize_ = open("resize");
    } else {
      err_ = open("stderr");
    }
  }

  void OnBytes(uint32_t id, absl::string_view bytes, bool end) {
    if (id == out_) WriteAll(STDOUT_FILENO, bytes);
    if (id == err_) WriteAll(STDERR_FILENO, bytes);
    if (id != error_) return;
    status_.append(bytes.data(), bytes.size());
    ended_ = end;
  }

  bool ReadInput() {
    char buffer[32 << 10];
    const ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) return true;
    if (n > 0) {
      connection_->Send(in_, absl::string_view(buffer, static_cast<size_t>(n)));
    } else {
      connection_->Finish(in_);
    }
    return n > 0;
  }

  void SendSize() {
    winsize size{};
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0) return;
    connection_->Send(resize_,
                      absl::StrCat("{\"Width\":", size.ws_col, ",\"Height\":", size.ws_row, "}"));
  }

  const CommandOptions options_;
  std::unique_ptr<SpdyConnection> connection_;
  uint32_t error_ = 0, in_ = 0, out_ = 0, err_ = 0, resize_ = 0;  // none has number 0
  std::string status_;
  bool ended_ = false;
};

// Local connections and their pairs of streams.
class ForwardSession {
 public:
  ForwardSession(int local, int remote) : local_(local), remote_(remote) {}

  absl::StatusOr<int> Run(const std::string& url) {
    ASSIGN_OR_RETURN(connection_,
                     SpdyConnection::Open(url, "portforward.k8s.io",
                                          [this](uint32_t id, absl::string_view bytes, bool end) {
                                            OnBytes(id, bytes, end);
                                          }));
    ASSIGN_OR_RETURN(const UniqueFd signals, TakeSignals());
    ASSIGN_OR_RETURN(const UniqueFd listener, Listen());
    for (;;) {
      const bool sending = connection_->sending();
      std::vector<pollfd> fds = {
          {connection_->socket(), static_cast<short>(POLLIN | (sending ? POLLOUT : 0)), 0},
          {signals.get(), POLLIN, 0},
          {listener.get(), POLLIN, 0}};
      std::vector<uint32_t> ids;
      for (const auto& [id, local] : locals_) {
        if (sending || local.read_all) continue;
        fds.push_back({local.fd.get(), POLLIN, 0});
        ids.push_back(id);
      }
      if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return ErrnoStatus("poll");
      if (fds[1].revents != 0) {
        const int signal = NextSignal(signals.get());
        if (signal != 0 && signal != SIGWINCH) return 0;
      }
      if (fds[2].revents != 0) Accept(listener.get());
      for (size_t i = 0; i < ids.size(); ++i) {
        if (fds[3 + i].revents != 0) ReadLocal(ids[i]);
      }
      if ((fds[0].revents != 0 || connection_->sending()) && !connection_->OnReady())
        return absl::UnavailableError("the connection to the pod has ended");
    }
  }

 private:
  struct Local {
    UniqueFd fd;
    bool read_all = false;
    bool written_all = false;
  };

  absl::StatusOr<UniqueFd> Listen() const {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return ErrnoStatus("socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(local_));
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(fd.get(), 64) != 0) {
      return ErrnoStatus("listen", absl::StrCat("127.0.0.1:", local_));
    }
    socklen_t size = sizeof address;
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
    printf("127.0.0.1:%d -> %d\n", ntohs(address.sin_port), remote_);
    fflush(stdout);
    return fd;
  }

  void Accept(int listener) {
    UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) return;
    const std::string port = absl::StrCat(remote_), request = absl::StrCat(next_request_++);
    const uint32_t error =
        connection_->OpenStream({{"streamtype", "error"}, {"port", port}, {"requestid", request}});
    connection_->Finish(error);
    errors_[error] = "";
    const uint32_t data =
        connection_->OpenStream({{"streamtype", "data"}, {"port", port}, {"requestid", request}});
    locals_[data].fd = std::move(fd);
  }

  void ReadLocal(uint32_t id) {
    Local& local = locals_[id];
    char buffer[32 << 10];
    const ssize_t n = read(local.fd.get(), buffer, sizeof buffer);
    if (n > 0) return connection_->Send(id, absl::string_view(buffer, static_cast<size_t>(n)));
    if (n < 0 && errno == EINTR) return;
    local.read_all = true;
    connection_->Finish(id);
    ForgetIfDone(id);
  }

  // A local reader that is slow slows the others: they share one connection to the pod.
  void OnBytes(uint32_t id, absl::string_view bytes, bool end) {
    if (const auto error = errors_.find(id); error != errors_.end()) {
      error->second.append(bytes.data(), bytes.size());
      if (!end) return;
      if (!error->second.empty()) fprintf(stderr, "%s\n", error->second.c_str());
      errors_.erase(error);
      return;
    }
    const auto found = locals_.find(id);
    if (found == locals_.end()) return;
    Local& local = found->second;
    if (!bytes.empty() && !WriteAll(local.fd.get(), bytes)) {
      connection_->Reset(id);
      locals_.erase(found);
      return;
    }
    if (!end) return;
    shutdown(local.fd.get(), SHUT_WR);
    local.written_all = true;
    ForgetIfDone(id);
  }

  void ForgetIfDone(uint32_t id) {
    const auto found = locals_.find(id);
    if (found != locals_.end() && found->second.read_all && found->second.written_all)
      locals_.erase(found);
  }

  const int local_;
  const int remote_;
  std::unique_ptr<SpdyConnection> connection_;
  std::map<uint32_t, Local> locals_;
  std::map<uint32_t, std::string> errors_;
  int next_request_ = 0;
};

}  // namespace

absl::StatusOr<int> RunCommand(const std::string& url, const CommandOptions& options) {
  signal(SIGPIPE, SIG_IGN);
  return CommandSession(options).Run(url);
}

absl::StatusOr<int> RunForward(const std::string& url, int local, int remote) {
  signal(SIGPIPE, SIG_IGN);
  return ForwardSession(local, remote).Run(url);
}

}  // namespace berth::cli
