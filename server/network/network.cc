#include "server/network/network.h"

#include <utility>

#include "base/status.h"
#include "server/network/bounded_json.h"
#include "server/network/cni_config.h"
#include "server/network/cni_result.h"

namespace berth {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;

// The members of the record: ToJson and FromJson walk the same table.
struct Member {
  const char* key;
  std::string Attachment::* field;
};
constexpr Member kMembers[] = {
    {"networkName", &Attachment::network_name},
    {"config", &Attachment::config_json},
    {"netns", &Attachment::netns_path},
    {"interface", &Attachment::interface},
    {"args", &Attachment::args},
    {"capabilityArgs", &Attachment::capability_args_json},
    {"result", &Attachment::result_json},
};

}  // namespace

std::string Attachment::ToJson() const {
  json object = {{"format", kFormat}, {"pod", pod.str()}};
  for (const Member& member : kMembers) object[member.key] = this->*member.field;
  return DumpJson(object);
}

absl::StatusOr<Attachment> Attachment::FromJson(absl::string_view text) {
  ASSIGN_OR_RETURN_WITH(const json object, ParseJsonObject(text), "attachment");
  if (object.value("format", json()) != kFormat) {
    return absl::InvalidArgumentError("attachment: format: not 1");
  }
  Attachment attachment;
  ASSIGN_OR_RETURN_WITH(std::string pod, JsonString(object, "pod"), "attachment");
  attachment.pod = PodId(std::move(pod));
  for (const Member& member : kMembers) {
    ASSIGN_OR_RETURN_WITH(attachment.*member.field, JsonString(object, member.key), "attachment");
  }
  return attachment;
}

absl::StatusOr<NetworkResult> ResultOf(const Attachment& attachment) {
  if (attachment.result_json.empty()) {
    return absl::FailedPreconditionError("the attachment has no result");
  }
  ASSIGN_OR_RETURN_WITH(const CniConfigList list, ParseCniConfigList(attachment.config_json),
                        "stored network configuration");
  ASSIGN_OR_RETURN_WITH(CniResult result, ParseCniResult(attachment.result_json, list.version),
                        "stored network result");
  NetworkResult answer;
  ASSIGN_OR_RETURN(answer.ips, PodIps(result, attachment.interface));
  answer.interfaces = std::move(result.interfaces);
  answer.dns = std::move(result.dns);
  return answer;
}

}  // namespace berth
