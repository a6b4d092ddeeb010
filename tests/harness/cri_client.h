// A CRI client for tests and benchmarks: the two stubs over one channel, errors as absl::Status,
// and the few calls that tests make all the time by name.
//
//   CriClient cri("/run/berth/berthd.sock");
//   cri::PodSandboxConfig config = HostNetworkPod("web");
//   std::string pod = cri.RunPod(config).value();
//   std::string id = cri.CreateContainer(pod, Container("c", image, {"sleep", "60"}),
//   config).value();
//
// It knows nothing of any runtime: the benchmark drives the peers' sockets with it. All methods may
// be called from any thread.
#ifndef BERTH_TESTS_HARNESS_CRI_CLIENT_H_
#define BERTH_TESTS_HARNESS_CRI_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/cri/v1/api.grpc.pb.h"

namespace berth::testing {

namespace cri = ::runtime::v1;

class CriClient {
 public:
  // `socket` is a path. No call is made yet. A call that outlives `timeout` is DeadlineExceeded;
  // its message then says `client deadline`, so that a test can tell it from the runtime's answer.
  explicit CriClient(const std::string& socket, absl::Duration timeout = absl::Seconds(60));

  // Any unary call: `client.Call(&CriClient::Runtime::Version, request)`.
  using Runtime = cri::RuntimeService::Stub;
  using Images = cri::ImageService::Stub;
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Runtime::*method)(grpc::ClientContext*,
                                                                const Request&, Response*),
                                const Request& request) {
    return Finish(*runtime_, method, request);
  }
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Images::*method)(grpc::ClientContext*, const Request&,
                                                               Response*),
                                const Request& request) {
    return Finish(*images_, method, request);
  }

  // For server-streaming calls, with a context of the caller's.
  Runtime& runtime() { return *runtime_; }
  Images& images() { return *images_; }
  static absl::Status FromGrpc(const grpc::Status& status);

  // True as soon as the socket takes connections; false after `timeout`. A call before that fails, and
  // after a refused connection gRPC's own next attempt may be five seconds away: only its back-up
  // poller drives a channel on which no call waits.
  bool WaitUntilListening(absl::Duration timeout);
  // True as soon as Status answers, which it does once the store is loaded.
  bool WaitUntilServing(absl::Duration timeout);

  absl::StatusOr<std::string> RunPod(const cri::PodSandboxConfig& config,
                                     const std::string& handler = "");
  absl::Status StopPod(const std::string& pod);
  absl::Status RemovePod(const std::string& pod);
  absl::StatusOr<cri::PodSandboxStatusResponse> PodStatus(const std::string& pod,
                                                          bool verbose = false);
  absl::StatusOr<std::vector<cri::PodSandbox>> ListPods(const cri::PodSandboxFilter& filter = {});

  absl::StatusOr<std::string> CreateContainer(const std::string& pod,
                                              const cri::ContainerConfig& container,
                                              const cri::PodSandboxConfig& sandbox);
  absl::Status StartContainer(const std::string& id);
  // `grace` in seconds before SIGKILL.
  absl::Status StopContainer(const std::string& id, int grace);
  absl::Status RemoveContainer(const std::string& id);
  absl::StatusOr<cri::ContainerStatus> ContainerStatus(const std::string& id);
  absl::StatusOr<std::vector<cri::Container>> ListContainers(
      const cri::ContainerFilter& filter = {});
  // `timeout` in seconds, 0 for none.
  absl::StatusOr<cri::ExecSyncResponse> ExecSync(const std::string& id,
                                                 const std::vector<std::string>& command,
                                                 int timeout = 0);
  // Polls the status until the container has exited; DeadlineExceeded after `timeout`.
  absl::StatusOr<cri::ContainerStatus> WaitForExit(const std::string& id,
                                                   absl::Duration timeout = absl::Seconds(20));

  absl::StatusOr<std::string> PullImage(const std::string& reference,
                                        const cri::AuthConfig& auth = {});
  // NotFound if the answer has no image.
  absl::StatusOr<cri::Image> ImageStatus(const std::string& reference);
  absl::Status RemoveImage(const std::string& reference);
  absl::StatusOr<std::vector<cri::Image>> ListImages();

 private:
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Finish(Stub& stub,
                                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                               Response*),
                                  const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(timeout_));
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (!status.ok()) return FromGrpc(status);
    return response;
  }
  const std::string socket_;
  const absl::Duration timeout_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Images> images_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_HARNESS_CRI_CLIENT_H_
