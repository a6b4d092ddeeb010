#include "tests/streaming/spdy_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"

namespace berth::testing {
namespace {

bool WaitFor(int fd, short events, absl::Time deadline) {
  pollfd p{fd, events, 0};
  const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
  return poll(&p, 1, left < 0 ? 0 : static_cast<int>(left)) > 0;
}

}  // namespace

StreamUrl ParseUrl(const std::string& url) {
  const size_t host = url.find("//") + 2;
  const size_t slash = url.find('/', host);
  const size_t colon = url.rfind(':', slash);
  return {url.substr(host, colon - host), atoi(url.c_str() + colon + 1),
          slash == std::string::npos ? "/" : url.substr(slash)};
}

absl::StatusOr<UniqueFd> ConnectTo(const StreamUrl& url) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(url.port));
  inet_pton(AF_INET, url.host.c_str(), &address.sin_addr);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return ErrnoStatus("connect", url.host);
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

absl::StatusOr<std::string> Converse(int socket, const std::string& request, std::string* rest) {
  if (send(socket, request.data(), request.size(), MSG_NOSIGNAL) < 0) return ErrnoStatus("send");
  std::string answer;
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  for (;;) {
    const size_t end = answer.find("\r\n\r\n");
    if (end != std::string::npos) {
      *rest = answer.substr(end + 4);
      return answer.substr(0, end + 4);
    }
    char buffer[4096];
    if (!WaitFor(socket, POLLIN, deadline)) return absl::DeadlineExceededError("no answer");
    const ssize_t n = recv(socket, buffer, sizeof buffer, 0);
    if (n <= 0) return absl::UnavailableError(absl::StrCat("closed after: ", answer));
    answer.append(buffer, static_cast<size_t>(n));
  }
}

absl::StatusOr<std::string> AskOnce(const std::string& url, const std::string& request) {
  ASSIGN_OR_RETURN(const UniqueFd socket, ConnectTo(ParseUrl(url)));
  send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL);
  std::string answer;
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  for (;;) {
    char buffer[4096];
    if (!WaitFor(socket.get(), POLLIN, deadline)) return absl::DeadlineExceededError(answer);
    const ssize_t n = recv(socket.get(), buffer, sizeof buffer, 0);
    if (n <= 0) return answer;
    answer.append(buffer, static_cast<size_t>(n));
  }
}

absl::StatusOr<std::unique_ptr<SpdyClient>> SpdyClient::Connect(const std::string& url,
                                                                const Options& options) {
  const StreamUrl to = ParseUrl(url);
  ASSIGN_OR_RETURN(UniqueFd socket, ConnectTo(to));
  std::string request = absl::StrCat("POST ", to.path, " HTTP/1.1\r\nHost: ", to.host,
                                     "\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n");
  for (const std::string& protocol : options.protocols)
    absl::StrAppend(&request, "X-Stream-Protocol-Version: ", protocol, "\r\n");
  std::string rest;
  ASSIGN_OR_RETURN(const std::string head, Converse(socket.get(), request + "\r\n", &rest));
  if (!absl::StartsWith(head, "HTTP/1.1 101")) return absl::UnavailableError(head + rest);
  std::unique_ptr<SpdyClient> client(new SpdyClient(std::move(socket), head, options));
  if (options.window > 0) client->SendFrame(SpdyWriter::InitialWindow(options.window));
  RETURN_IF_ERROR(client->reader_.Read(rest));
  return client;
}

void SpdyClient::SendFrame(absl::string_view frame) {
  while (!frame.empty()) {
    const ssize_t n = send(socket_.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    frame.remove_prefix(static_cast<size_t>(n));
  }
}

uint32_t SpdyClient::Open(const SpdyHeaders& headers, bool fin) {
  const uint32_t id = next_;
  next_ += 2;
  SendFrame(writer_.SynStream(id, fin, headers));
  return id;
}

void SpdyClient::Send(uint32_t stream, absl::string_view bytes, bool fin) {
  SendFrame(absl::StrCat(SpdyWriter::DataHead(stream, bytes.size(), fin), bytes));
}

void SpdyClient::OnSynReply(uint32_t id, bool fin, const SpdyHeaders&) {
  streams_[id].replied = true;
  if (fin) streams_[id].ended = true;
}

void SpdyClient::OnReset(uint32_t id, uint32_t) {
  streams_[id].reset = true;
  streams_[id].ended = true;
}

void SpdyClient::OnData(uint32_t id, absl::string_view bytes, bool fin) {
  Incoming& stream = streams_[id];
  counted_ += bytes.size();
  if (!count_only_) stream.bytes.append(bytes.data(), bytes.size());
  if (fin) stream.ended = true;
  if (options_.window == 0 || bytes.empty()) return;
  SendFrame(SpdyWriter::WindowUpdate(id, static_cast<uint32_t>(bytes.size())));
  SendFrame(SpdyWriter::WindowUpdate(0, static_cast<uint32_t>(bytes.size())));
}

bool SpdyClient::ReadOnce(absl::Time deadline) {
  char buffer[64 << 10];
  if (!WaitFor(socket_.get(), POLLIN, deadline)) return false;
  const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, 0);
  if (n <= 0 || !reader_.Read(absl::string_view(buffer, static_cast<size_t>(n))).ok()) {
    closed_ = true;
    for (auto& [id, stream] : streams_) stream.ended = true;
  }
  return true;
}

bool SpdyClient::ReadUntil(const std::function<bool()>& done, absl::Duration patience) {
  const absl::Time deadline = absl::Now() + patience;
  while (!done()) {
    if (closed_ || !ReadOnce(deadline)) return done();
  }
  return true;
}

std::string SpdyClient::ReadAll(uint32_t id) {
  ReadUntil([&] { return streams_[id].ended; });
  return streams_[id].bytes;
}

bool SpdyClient::ReadText(uint32_t id, absl::string_view text) {
  return ReadUntil([&] { return absl::StrContains(streams_[id].bytes, text); });
}

absl::StatusOr<CommandClient> OpenCommand(const std::string& url, bool in, bool out, bool err,
                                          bool tty, const SpdyClient::Options& options) {
  CommandClient client;
  ASSIGN_OR_RETURN(client.spdy, SpdyClient::Connect(url, options));
  std::vector<uint32_t> all;
  const auto open = [&](const char* type) {
    all.push_back(client.spdy->OpenTyped(type));
    return all.back();
  };
  client.error = open("error");
  if (in) client.in = open("stdin");
  if (out) client.out = open("stdout");
  if (err) client.err = open("stderr");
  if (tty) client.resize = open("resize");
  const bool replied = client.spdy->ReadUntil([&] {
    for (const uint32_t id : all) {
      if (!client.spdy->stream(id).replied) return false;
    }
    return true;
  });
  if (!replied) return absl::UnavailableError("a stream was not answered");
  return client;
}

}  // namespace berth::testing
