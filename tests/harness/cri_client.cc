#include "tests/harness/cri_client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/unique_fd.h"

namespace berth::testing {

namespace {

constexpr int kMessageLimit = 16 << 20;  // kubelet's limit

std::shared_ptr<grpc::Channel> Connect(const std::string& socket) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMessageLimit);
  // A daemon that has been restarted is found again at once, not after seconds of back-off.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);  // also bounds one attempt
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  // Channels of one process share subchannels by default; then they would share a dead one.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("unix://" + socket, grpc::InsecureChannelCredentials(),
                                   arguments);
}

bool Listens(const std::string& socket) {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  socket.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

// Status without the value.
template <typename T>
absl::Status Only(const absl::StatusOr<T>& result) {
  return result.status();
}

}  // namespace

CriClient::CriClient(const std::string& socket, absl::Duration timeout)
    : socket_(socket), timeout_(timeout) {
  auto channel = Connect(socket);
  runtime_ = cri::RuntimeService::NewStub(channel);
  images_ = cri::ImageService::NewStub(channel);
}

absl::Status CriClient::FromGrpc(const grpc::Status& status) {
  const bool client_deadline = status.error_code() == grpc::DEADLINE_EXCEEDED &&
                               status.error_message() == "Deadline Exceeded";
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      client_deadline ? "client deadline" : status.error_message());
}

bool CriClient::WaitUntilListening(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!Listens(socket_)) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return true;
}

bool CriClient::WaitUntilServing(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  if (!WaitUntilListening(timeout)) return false;
  for (;;) {
    // Status, not Version: it answers only when the store is loaded.
    if (Call(&Runtime::Status, cri::StatusRequest()).ok()) return true;
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
}

absl::StatusOr<std::string> CriClient::RunPod(const cri::PodSandboxConfig& config,
                                              const std::string& handler) {
  cri::RunPodSandboxRequest request;
  *request.mutable_config() = config;
  request.set_runtime_handler(handler);
  auto response = Call(&Runtime::RunPodSandbox, request);
  if (!response.ok()) return response.status();
  return response->pod_sandbox_id();
}

absl::Status CriClient::StopPod(const std::string& pod) {
  cri::StopPodSandboxRequest request;
  request.set_pod_sandbox_id(pod);
  return Only(Call(&Runtime::StopPodSandbox, request));
}

absl::Status CriClient::RemovePod(const std::string& pod) {
  cri::RemovePodSandboxRequest request;
  request.set_pod_sandbox_id(pod);
  return Only(Call(&Runtime::RemovePodSandbox, request));
}

absl::StatusOr<cri::PodSandboxStatusResponse> CriClient::PodStatus(const std::string& pod,
                                                                   bool verbose) {
  cri::PodSandboxStatusRequest request;
  request.set_pod_sandbox_id(pod);
  request.set_verbose(verbose);
  return Call(&Runtime::PodSandboxStatus, request);
}

absl::StatusOr<std::vector<cri::PodSandbox>> CriClient::ListPods(
    const cri::PodSandboxFilter& filter) {
  cri::ListPodSandboxRequest request;
  *request.mutable_filter() = filter;
  auto response = Call(&Runtime::ListPodSandbox, request);
  if (!response.ok()) return response.status();
  return std::vector<cri::PodSandbox>(response->items().begin(), response->items().end());
}

absl::StatusOr<std::string> CriClient::CreateContainer(const std::string& pod,
                                                       const cri::ContainerConfig& container,
                                                       const cri::PodSandboxConfig& sandbox) {
  cri::CreateContainerRequest request;
  request.set_pod_sandbox_id(pod);
  *request.mutable_config() = container;
  *request.mutable_sandbox_config() = sandbox;
  auto response = Call(&Runtime::CreateContainer, request);
  if (!response.ok()) return response.status();
  return response->container_id();
}

absl::Status CriClient::StartContainer(const std::string& id) {
  cri::StartContainerRequest request;
  request.set_container_id(id);
  return Only(Call(&Runtime::StartContainer, request));
}

absl::Status CriClient::StopContainer(const std::string& id, int grace) {
  cri::StopContainerRequest request;
  request.set_container_id(id);
  request.set_timeout(grace);
  return Only(Call(&Runtime::StopContainer, request));
}

absl::Status CriClient::RemoveContainer(const std::string& id) {
  cri::RemoveContainerRequest request;
  request.set_container_id(id);
  return Only(Call(&Runtime::RemoveContainer, request));
}

absl::StatusOr<cri::ContainerStatus> CriClient::ContainerStatus(const std::string& id) {
  cri::ContainerStatusRequest request;
  request.set_container_id(id);
  auto response = Call(&Runtime::ContainerStatus, request);
  if (!response.ok()) return response.status();
  return response->status();
}

absl::StatusOr<std::vector<cri::Container>> CriClient::ListContainers(
    const cri::ContainerFilter& filter) {
  cri::ListContainersRequest request;
  *request.mutable_filter() = filter;
  auto response = Call(&Runtime::ListContainers, request);
  if (!response.ok()) return response.status();
  return std::vector<cri::Container>(response->containers().begin(), response->containers().end());
}

absl::StatusOr<cri::ExecSyncResponse> CriClient::ExecSync(const std::string& id,
                                                          const std::vector<std::string>& command,
                                                          int timeout) {
  cri::ExecSyncRequest request;
  request.set_container_id(id);
  request.mutable_cmd()->Add(command.begin(), command.end());
  request.set_timeout(timeout);
  return Call(&Runtime::ExecSync, request);
}

absl::StatusOr<cri::ContainerStatus> CriClient::WaitForExit(const std::string& id,
                                                            absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  for (;;) {
    auto status = ContainerStatus(id);
    if (!status.ok() || status->state() == cri::CONTAINER_EXITED) return status;
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("container ", id, " is still in state ", status->state()));
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
}

absl::StatusOr<std::string> CriClient::PullImage(const std::string& reference,
                                                 const cri::AuthConfig& auth) {
  cri::PullImageRequest request;
  request.mutable_image()->set_image(reference);
  if (auth.ByteSizeLong() > 0) *request.mutable_auth() = auth;
  auto response = Call(&Images::PullImage, request);
  if (!response.ok()) return response.status();
  return response->image_ref();
}

absl::StatusOr<cri::Image> CriClient::ImageStatus(const std::string& reference) {
  cri::ImageStatusRequest request;
  request.mutable_image()->set_image(reference);
  auto response = Call(&Images::ImageStatus, request);
  if (!response.ok()) return response.status();
  if (!response->has_image()) return absl::NotFoundError(absl::StrCat("no image ", reference));
  return response->image();
}

absl::Status CriClient::RemoveImage(const std::string& reference) {
  cri::RemoveImageRequest request;
  request.mutable_image()->set_image(reference);
  return Only(Call(&Images::RemoveImage, request));
}

absl::StatusOr<std::vector<cri::Image>> CriClient::ListImages() {
  auto response = Call(&Images::ListImages, cri::ListImagesRequest());
  if (!response.ok()) return response.status();
  return std::vector<cri::Image>(response->images().begin(), response->images().end());
}

}  // namespace berth::testing
