// The connection of the command line to a CRI socket.
#ifndef BERTH_CLI_CLIENT_H_
#define BERTH_CLI_CLIENT_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/grpcpp.h"
#include "proto/cri/v1/api.grpc.pb.h"

namespace berth::cli {

namespace cri = ::runtime::v1;

class Client {
 public:
  using Runtime = cri::RuntimeService::Stub;
  using Images = cri::ImageService::Stub;

  // `address` is unix:///path or /path; nothing is connected yet. Calls fail with DeadlineExceeded
  // after `timeout`.
  Client(std::string address, std::chrono::seconds timeout);

  // A unary call: `client.Call(&Client::Runtime::Version, request)`. The error has the server's
  // code and message.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Runtime::*method)(grpc::ClientContext*,
                                                                const Request&, Response*),
                                const Request& request) const {
    return CallOn(runtime_.get(), method, request);
  }
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Images::*method)(grpc::ClientContext*, const Request&,
                                                               Response*),
                                const Request& request) const {
    return CallOn(images_.get(), method, request);
  }
  // A call whose answers come for as long as the server has some: each to `take`, until that returns
  // false. No deadline.
  template <typename Request, typename Response>
  absl::Status Listen(std::unique_ptr<grpc::ClientReader<Response>> (Runtime::*method)(
                          grpc::ClientContext*, const Request&),
                      const Request& request, bool (*take)(const Response&)) const {
    grpc::ClientContext context;
    const std::unique_ptr<grpc::ClientReader<Response>> reader =
        (runtime_.get()->*method)(&context, request);
    Response response;
    while (reader->Read(&response)) {
      if (take(response)) continue;
      context.TryCancel();
      return absl::OkStatus();
    }
    const grpc::Status status = reader->Finish();
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }

 private:
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> CallOn(Stub* stub,
                                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                               Response*),
                                  const Request& request) const {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout_);
    Response response;
    const grpc::Status status = (stub->*method)(&context, request, &response);
    if (!status.ok()) {
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
    }
    return response;
  }

  const std::chrono::seconds timeout_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Images> images_;
};

}  // namespace berth::cli

#endif  // BERTH_CLI_CLIENT_H_
