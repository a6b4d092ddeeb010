#include "cli/spdy_connection.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace berth::cli {
namespace {

constexpr size_t kMaxHead = 16 << 10;

struct Url {
  std::string host, port, path;
};

absl::StatusOr<Url> ParseUrl(absl::string_view url) {
  const auto bad = [url] {
    return absl::InvalidArgumentError(absl::StrCat("the runtime's URL ", url, " is no http URL"));
  };
  if (!absl::ConsumePrefix(&url, "http://")) return bad();
  const size_t slash = url.find('/');
  if (slash == absl::string_view::npos) return bad();
  const absl::string_view address = url.substr(0, slash);
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return bad();
  absl::string_view host = address.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return Url{std::string(host), std::string(address.substr(colon + 1)),
             std::string(url.substr(slash))};
}

absl::StatusOr<UniqueFd> ConnectTo(const Url& url) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  if (const int error = getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found); error != 0)
    return absl::UnavailableError(absl::StrCat(url.host, ": ", gai_strerror(error)));
  absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  UniqueFd fd(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoStatus("socket");
  if (connect(fd.get(), found->ai_addr, found->ai_addrlen) != 0)
    return ErrnoStatus("connect", absl::StrCat(url.host, ":", url.port));
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

// Reads up to the end of the head, byte by byte: what follows is not ours.
absl::StatusOr<std::string> ReadHead(int socket) {
  std::string head;
  while (!absl::EndsWith(head, "\r\n\r\n") && head.size() < kMaxHead) {
    char byte;
    const ssize_t n = recv(socket, &byte, 1, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("recv");
    if (n == 0) break;
    head.push_back(byte);
  }
  return head;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SpdyConnection>> SpdyConnection::Open(const std::string& url,
                                                                     const std::string& protocol,
                                                                     OnBytes on_bytes) {
  ASSIGN_OR_RETURN(const Url parsed, ParseUrl(url));
  ASSIGN_OR_RETURN(UniqueFd socket, ConnectTo(parsed));
  const std::string request = absl::StrCat(
      "POST ", parsed.path, " HTTP/1.1\r\nHost: ", parsed.host, ":", parsed.port,
      "\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ", protocol,
      "\r\nContent-Length: 0\r\n\r\n");
  if (send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return ErrnoStatus("send");
  }
  ASSIGN_OR_RETURN(const std::string head, ReadHead(socket.get()));
  if (!absl::StartsWith(head, "HTTP/1.1 101 "))
    return absl::UnavailableError(
        absl::StrCat("the streaming server answers: ", head.substr(0, head.find("\r\n"))));
  fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  return std::unique_ptr<SpdyConnection>(
      new SpdyConnection(std::move(socket), std::move(on_bytes)));
}

uint32_t SpdyConnection::OpenStream(const SpdyHeaders& headers) {
  const uint32_t id = next_stream_;
  next_stream_ += 2;
  outgoing_ += writer_.SynStream(id, false, headers);
  return id;
}

void SpdyConnection::Send(uint32_t stream, absl::string_view bytes) {
  absl::StrAppend(&outgoing_, SpdyWriter::DataHead(stream, bytes.size(), false), bytes);
}

void SpdyConnection::Finish(uint32_t stream) { outgoing_ += SpdyWriter::DataHead(stream, 0, true); }

void SpdyConnection::Reset(uint32_t stream) {
  outgoing_ += SpdyWriter::Reset(stream, SpdyReset::kCancel);
}

void SpdyConnection::OnPing(uint32_t id) {
  if (id % 2 == 0) outgoing_ += SpdyWriter::Ping(id);
}

bool SpdyConnection::OnReady() {
  while (!outgoing_.empty()) {
    const ssize_t n = send(socket(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    outgoing_.erase(0, static_cast<size_t>(n));
  }
  char buffer[64 << 10];
  const ssize_t n = recv(socket(), buffer, sizeof buffer, 0);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  return n > 0 && reader_.Read(absl::string_view(buffer, static_cast<size_t>(n))).ok();
}

}  // namespace berth::cli
