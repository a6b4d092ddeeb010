#include "server/http/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;
using Error = boost::system::error_code;

// Without a free descriptor the listening socket stays readable: look again after a while.
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

absl::StatusOr<Tcp::endpoint> ParseAddress(absl::string_view address) {
  const auto bad = [address] {
    return absl::InvalidArgumentError(absl::StrCat("listen on ", address, ": is not IP:PORT"));
  };
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return bad();
  std::string host(address.substr(0, colon));
  int port;
  if (!absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) return bad();
  if (host == "localhost") host = "127.0.0.1";
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  Error error;
  const asio::ip::address ip = asio::ip::make_address(host, error);
  if (error) return bad();
  return Tcp::endpoint(ip, static_cast<uint16_t>(port));
}

// By hand, as Asio 1.74 opens and accepts sockets without SOCK_CLOEXEC.
absl::StatusOr<UniqueFd> Listen(const Tcp::endpoint& endpoint, absl::string_view address,
                                int backlog) {
  UniqueFd fd(socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoStatus("socket");
  const int on = 1;
  if (setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
    return ErrnoStatus("setsockopt SO_REUSEADDR");
  }
  if (bind(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0) {
    if (errno == EADDRINUSE) {
      return absl::AlreadyExistsError(absl::StrCat("listen on ", address, ": the port is taken"));
    }
    return ErrnoStatus("bind", address);
  }
  if (listen(fd.get(), backlog) != 0) return ErrnoStatus("listen", address);
  return fd;
}

}  // namespace

Listener::Listener(asio::io_context* io, OnConnection on_connection)
    : io_(io), on_connection_(std::move(on_connection)), acceptor_(*io), pause_(*io) {}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(asio::io_context* io,
                                                         absl::string_view address, int backlog,
                                                         OnConnection on_connection) {
  ASSIGN_OR_RETURN(const Tcp::endpoint endpoint, ParseAddress(address));
  ASSIGN_OR_RETURN(UniqueFd fd, Listen(endpoint, address, backlog));
  std::unique_ptr<Listener> listener(new Listener(io, std::move(on_connection)));
  Error error;
  listener->acceptor_.assign(endpoint.protocol(), fd.get(), error);
  if (error) return absl::InternalError(absl::StrCat("listen on ", address, ": ", error.message()));
  fd.release();
  const Tcp::endpoint bound = listener->acceptor_.local_endpoint(error);
  const std::string ip = bound.address().to_string(error);
  listener->address_ =
      absl::StrCat(bound.address().is_v6() ? absl::StrCat("[", ip, "]") : ip, ":", bound.port());
  listener->Wait();
  return listener;
}

void Listener::Wait() {
  acceptor_.async_wait(Tcp::acceptor::wait_read, [this](Error error) {
    if (!error) Accept();
  });
}

void Listener::Accept() {
  const int fd = accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  const bool exhausted =
      fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
  if (fd >= 0) Hand(fd);
  if (!exhausted) return Wait();
  LogWarning("accept a connection on ", address_, ": out of descriptors or memory, ignoring");
  pause_.expires_after(kAcceptPause);
  pause_.async_wait([this](Error error) {
    if (!error) Wait();
  });
}

void Listener::Hand(int fd) {
  UniqueFd owned(fd);
  Tcp::socket socket(*io_);
  Error error;
  const Tcp::endpoint local = acceptor_.local_endpoint(error);
  socket.assign(local.protocol(), fd, error);
  if (error) return;
  owned.release();
  on_connection_(std::move(socket));
}

}  // namespace berth
