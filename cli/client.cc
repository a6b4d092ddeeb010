#include "cli/client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace berth::cli {
namespace {

// As the daemon's own limit.
constexpr int kMaxMessageBytes = 16 << 20;

std::string TargetOf(absl::string_view address) {
  if (!absl::ConsumePrefix(&address, "unix://")) absl::ConsumePrefix(&address, "unix:");
  return absl::StrCat("unix:", address);
}

}  // namespace

Client::Client(std::string address, std::chrono::seconds timeout) : timeout_(timeout) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(TargetOf(address), grpc::InsecureChannelCredentials(), arguments);
  runtime_ = cri::RuntimeService::NewStub(channel);
  images_ = cri::ImageService::NewStub(channel);
}

}  // namespace berth::cli
