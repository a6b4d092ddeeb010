// The CRI's methods by their path, with their messages' types erased: bytes in, bytes out.
#ifndef BERTH_SERVER_CRI_METHOD_TABLE_H_
#define BERTH_SERVER_CRI_METHOD_TABLE_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/cri/handlers.h"

namespace berth {

enum class MethodKind {
  // Answers at once, on the thread that received the call.
  kInline,
  // May block: runs on the pool.
  kBlocking,
  // Sends any number of answers; runs on the pool.
  kStream,
};

struct Handlers {
  RuntimeServiceHandler* runtime;
  ImageServiceHandler* image;
};

// Sends one encoded message of a stream, or, for null, its headers; false if nobody listens.
using SendMessage = std::function<bool(const grpc::ByteBuffer*)>;

struct Method {
  // Without the service: `RunPodSandbox`. Lives as long as the program.
  absl::string_view name;
  MethodKind kind;
  // Decodes the request, calls the handler, encodes the response. InvalidArgument for bytes that
  // are not the request's message. The one that fits `kind` is set.
  absl::Status (*unary)(const Handlers& handlers, const CallContext& context,
                        grpc::ByteBuffer* request, grpc::ByteBuffer* response);
  absl::Status (*stream)(const Handlers& handlers, const CallContext& context,
                         grpc::ByteBuffer* request, const SendMessage& send);
};

// The method of an HTTP/2 path (`/runtime.v1.RuntimeService/Version`), or null.
const Method* FindMethod(absl::string_view path);

}  // namespace berth

#endif  // BERTH_SERVER_CRI_METHOD_TABLE_H_
