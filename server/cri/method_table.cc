#include "server/cri/method_table.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "google/protobuf/arena.h"
#include "grpcpp/impl/codegen/proto_utils.h"

namespace berth {
namespace {

absl::Status Decode(grpc::ByteBuffer* bytes, google::protobuf::Message* message) {
  // Of a message that is too deep, truncated, or not UTF-8 where it has to be.
  const grpc::Status status =
      grpc::SerializationTraits<google::protobuf::Message>::Deserialize(bytes, message);
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("request: not a valid ", message->GetTypeName(), " message"));
}

absl::Status Encode(const google::protobuf::Message& message, grpc::ByteBuffer* bytes) {
  bool own_buffer;
  const grpc::Status status =
      grpc::SerializationTraits<google::protobuf::Message>::Serialize(message, bytes, &own_buffer);
  if (status.ok()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("encode ", message.GetTypeName(), ": ", status.error_message()));
}

RuntimeServiceHandler* HandlerOf(const Handlers& handlers, const RuntimeServiceHandler*) {
  return handlers.runtime;
}
ImageServiceHandler* HandlerOf(const Handlers& handlers, const ImageServiceHandler*) {
  return handlers.image;
}

template <typename Response>
class EncodingStream : public ResponseStream<Response> {
 public:
  explicit EncodingStream(const SendMessage& send) : send_(send) {}

  bool Begin() override { return send_(nullptr); }
  bool Write(const Response& response) override {
    grpc::ByteBuffer bytes;
    return Encode(response, &bytes).ok() && send_(&bytes);
  }

 private:
  const SendMessage& send_;
};

// Deduces a method's handler and messages from its member pointer.
template <auto kMember>
struct Unary;
template <typename Handler, typename Request, typename Response,
          absl::Status (Handler::*kMember)(const CallContext&, const Request&, Response*)>
struct Unary<kMember> {
  static absl::Status Run(const Handlers& handlers, const CallContext& context,
                          grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
    google::protobuf::Arena arena;
    auto* request = google::protobuf::Arena::CreateMessage<Request>(&arena);
    auto* response = google::protobuf::Arena::CreateMessage<Response>(&arena);
    absl::Status status = Decode(in, request);
    if (!status.ok()) return status;
    Handler* handler = HandlerOf(handlers, static_cast<const Handler*>(nullptr));
    status = (handler->*kMember)(context, *request, response);
    return status.ok() ? Encode(*response, out) : status;
  }
};

template <auto kMember>
struct Stream;
template <typename Handler, typename Request, typename Response,
          absl::Status (Handler::*kMember)(const CallContext&, const Request&,
                                           ResponseStream<Response>*)>
struct Stream<kMember> {
  static absl::Status Run(const Handlers& handlers, const CallContext& context,
                          grpc::ByteBuffer* in, const SendMessage& send) {
    Request request;
    const absl::Status status = Decode(in, &request);
    if (!status.ok()) return status;
    EncodingStream<Response> stream(send);
    Handler* handler = HandlerOf(handlers, static_cast<const Handler*>(nullptr));
    return (handler->*kMember)(context, request, &stream);
  }
};

template <auto kMember>
constexpr Method Inline(absl::string_view name) {
  return {name, MethodKind::kInline, &Unary<kMember>::Run, nullptr};
}
template <auto kMember>
constexpr Method Blocking(absl::string_view name) {
  return {name, MethodKind::kBlocking, &Unary<kMember>::Run, nullptr};
}
template <auto kMember>
constexpr Method Streaming(absl::string_view name) {
  return {name, MethodKind::kStream, nullptr, &Stream<kMember>::Run};
}

// Sorted by name.
using Runtime = RuntimeServiceHandler;
constexpr Method kRuntimeMethods[] = {
    Blocking<&Runtime::Attach>("Attach"),
    Blocking<&Runtime::CheckpointContainer>("CheckpointContainer"),
    Blocking<&Runtime::CheckpointPod>("CheckpointPod"),
    Blocking<&Runtime::ContainerStats>("ContainerStats"),
    Inline<&Runtime::ContainerStatus>("ContainerStatus"),
    Blocking<&Runtime::CreateContainer>("CreateContainer"),
    Blocking<&Runtime::Exec>("Exec"),
    Blocking<&Runtime::ExecSync>("ExecSync"),
    Streaming<&Runtime::GetContainerEvents>("GetContainerEvents"),
    Blocking<&Runtime::ListContainerStats>("ListContainerStats"),
    Inline<&Runtime::ListContainers>("ListContainers"),
    Inline<&Runtime::ListMetricDescriptors>("ListMetricDescriptors"),
    Inline<&Runtime::ListPodSandbox>("ListPodSandbox"),
    Blocking<&Runtime::ListPodSandboxMetrics>("ListPodSandboxMetrics"),
    Blocking<&Runtime::ListPodSandboxStats>("ListPodSandboxStats"),
    Blocking<&Runtime::PodSandboxStats>("PodSandboxStats"),
    Inline<&Runtime::PodSandboxStatus>("PodSandboxStatus"),
    Blocking<&Runtime::PortForward>("PortForward"),
    Blocking<&Runtime::RemoveContainer>("RemoveContainer"),
    Blocking<&Runtime::RemovePodSandbox>("RemovePodSandbox"),
    Blocking<&Runtime::ReopenContainerLog>("ReopenContainerLog"),
    Blocking<&Runtime::RestorePod>("RestorePod"),
    Blocking<&Runtime::RunPodSandbox>("RunPodSandbox"),
    Inline<&Runtime::RuntimeConfig>("RuntimeConfig"),
    Blocking<&Runtime::StartContainer>("StartContainer"),
    Inline<&Runtime::Status>("Status"),
    Blocking<&Runtime::StopContainer>("StopContainer"),
    Blocking<&Runtime::StopPodSandbox>("StopPodSandbox"),
    Streaming<&Runtime::StreamContainerStats>("StreamContainerStats"),
    Streaming<&Runtime::StreamContainers>("StreamContainers"),
    Streaming<&Runtime::StreamPodSandboxMetrics>("StreamPodSandboxMetrics"),
    Streaming<&Runtime::StreamPodSandboxStats>("StreamPodSandboxStats"),
    Streaming<&Runtime::StreamPodSandboxes>("StreamPodSandboxes"),
    Blocking<&Runtime::UpdateContainerResources>("UpdateContainerResources"),
    Blocking<&Runtime::UpdatePodSandboxResources>("UpdatePodSandboxResources"),
    Blocking<&Runtime::UpdateRuntimeConfig>("UpdateRuntimeConfig"),
    Inline<&Runtime::Version>("Version"),
};

// Sorted by name.
using Image = ImageServiceHandler;
constexpr Method kImageMethods[] = {
    Blocking<&Image::ImageFsInfo>("ImageFsInfo"), Inline<&Image::ImageStatus>("ImageStatus"),
    Inline<&Image::ListImages>("ListImages"),     Blocking<&Image::PullImage>("PullImage"),
    Blocking<&Image::RemoveImage>("RemoveImage"), Streaming<&Image::StreamImages>("StreamImages"),
};

template <size_t kSize>
const Method* FindIn(const Method (&methods)[kSize], absl::string_view name) {
  const Method* it = std::lower_bound(
      std::begin(methods), std::end(methods), name,
      [](const Method& method, absl::string_view wanted) { return method.name < wanted; });
  return it != std::end(methods) && it->name == name ? it : nullptr;
}

}  // namespace

const Method* FindMethod(absl::string_view path) {
  if (absl::ConsumePrefix(&path, "/runtime.v1.RuntimeService/")) {
    return FindIn(kRuntimeMethods, path);
  }
  if (absl::ConsumePrefix(&path, "/runtime.v1.ImageService/")) return FindIn(kImageMethods, path);
  return nullptr;
}

}  // namespace berth
