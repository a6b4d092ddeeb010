// A listening TCP socket on an Asio loop, for the daemon's HTTP servers.
#ifndef BERTH_SERVER_HTTP_LISTENER_H_
#define BERTH_SERVER_HTTP_LISTENER_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace berth {

class Listener {
 public:
  using OnConnection = std::function<void(boost::asio::ip::tcp::socket)>;

  // Listens on HOST:PORT ([HOST]:PORT for IPv6; port 0: the kernel chooses one); connections come to
  // `on_connection` on the loop's thread. InvalidArgument: the address doesn't parse (HOST is an IP
  // address or localhost); AlreadyExists: the port is taken.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(boost::asio::io_context* io,
                                                        absl::string_view address, int backlog,
                                                        OnConnection on_connection);

  // HOST:PORT as bound.
  const std::string& address() const { return address_; }

 private:
  Listener(boost::asio::io_context* io, OnConnection on_connection);
  void Wait();
  void Accept();
  void Hand(int fd);

  boost::asio::io_context* const io_;
  const OnConnection on_connection_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_;
  std::string address_;
};

}  // namespace berth

#endif  // BERTH_SERVER_HTTP_LISTENER_H_
