// Who a container runs as: user, groups, capabilities.
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "server/pods/spec_parts.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

absl::StatusOr<uint32_t> ReadId(int64_t id, absl::string_view field) {
  // (uid_t)-1 means "leave it" to the kernel.
  if (id < 0 || id >= std::numeric_limits<uint32_t>::max()) {
    return InvalidField(field, absl::StrCat(id, " is out of range"));
  }
  return static_cast<uint32_t>(id);
}

bool IsNumber(absl::string_view text) {
  return text.find_first_not_of("0123456789") == absl::string_view::npos;
}

// An id, or a name in `name`. What is a number is no name, even if the image has a user of that name
// (CVE-2016-3697), and 2^32-1 would leave the process root (CVE-2024-40635).
absl::Status ReadIdOrName(const std::string& text, absl::string_view field,
                          std::optional<uint32_t>* id, std::string* name) {
  if (!IsNumber(text)) {
    *name = text;
    return absl::OkStatus();
  }
  uint32_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number == std::numeric_limits<uint32_t>::max()) {
    return InvalidField(field, absl::StrCat("user or group ", text, " is out of range"));
  }
  *id = number;
  return absl::OkStatus();
}

// image-spec, config.md, "User": name, uid, name:group, uid:gid, and mixtures.
absl::Status ImageUser(const ImageConfig& image, UserReference* user) {
  const std::vector<std::string> parts = absl::StrSplit(image.user, absl::MaxSplits(':', 1));
  if (parts[0].empty()) {
    user->uid = 0;
  } else {
    RETURN_IF_ERROR(ReadIdOrName(parts[0], "image", &user->uid, &user->user));
  }
  if (parts.size() < 2 || parts[1].empty()) return absl::OkStatus();
  return ReadIdOrName(parts[1], "image", &user->gid, &user->group);
}

absl::StatusOr<CapabilityMask> ReadCapabilities(
    const google::protobuf::RepeatedPtrField<std::string>& names, absl::string_view field) {
  CapabilityMask mask = 0;
  for (int i = 0; i < names.size(); ++i) {
    if (absl::EqualsIgnoreCase(names[i], "ALL")) {
      mask = kAllCapabilities;
      continue;
    }
    const std::optional<int> number = CapabilityNumber(names[i]);
    if (!number) {
      return InvalidField(absl::StrCat(kContextField, ".capabilities.", field, "[", i, "]"),
                          absl::StrCat("unknown capability \"", names[i], "\""));
    }
    mask |= CapabilityBit(*number);
  }
  return mask;
}

}  // namespace

absl::Status AddUser(const SpecRequest& request, BuiltSpec* built) {
  UserReference& user = built->user;
  if (request.context().has_run_as_user()) {
    ASSIGN_OR_RETURN(user.uid, ReadId(request.context().run_as_user().value(),
                                      absl::StrCat(kContextField, ".run_as_user")));
  } else if (!request.context().run_as_username().empty()) {
    RETURN_IF_ERROR(ReadIdOrName(request.context().run_as_username(),
                                 absl::StrCat(kContextField, ".run_as_username"), &user.uid,
                                 &user.user));
  } else if (request.context().has_run_as_group()) {
    return InvalidField(absl::StrCat(kContextField, ".run_as_group"),
                        "needs run_as_user or run_as_username");
  } else {
    RETURN_IF_ERROR(ImageUser(request.image, &user));
  }
  if (request.context().has_run_as_group()) {
    ASSIGN_OR_RETURN(user.gid, ReadId(request.context().run_as_group().value(),
                                      absl::StrCat(kContextField, ".run_as_group")));
  }
  for (int i = 0; i < request.context().supplemental_groups_size(); ++i) {
    ASSIGN_OR_RETURN(const uint32_t group,
                     ReadId(request.context().supplemental_groups(i),
                            absl::StrCat(kContextField, ".supplemental_groups[", i, "]")));
    built->process().user.additional_gids.push_back(group);
  }
  if (request.context().supplemental_groups_policy() != cri::Merge &&
      request.context().supplemental_groups_policy() != cri::Strict) {
    return InvalidField(absl::StrCat(kContextField, ".supplemental_groups_policy"),
                        "unknown policy");
  }
  user.strict_groups = request.context().supplemental_groups_policy() == cri::Strict;
  built->process().user.uid = user.uid.value_or(0);
  built->process().user.gid = user.gid.value_or(0);
  return absl::OkStatus();
}

// ALL in either list is the base, on which single names work: add ALL and drop NET_RAW, or drop ALL
// and add NET_BIND_SERVICE.
absl::Status AddCapabilities(const SpecRequest& request, BuiltSpec* built) {
  SpecCapabilities& out = built->process().capabilities.emplace();
  const cri::Capability& c = request.context().capabilities();
  ASSIGN_OR_RETURN(const CapabilityMask add,
                   ReadCapabilities(c.add_capabilities(), "add_capabilities"));
  ASSIGN_OR_RETURN(const CapabilityMask drop,
                   ReadCapabilities(c.drop_capabilities(), "drop_capabilities"));
  ASSIGN_OR_RETURN(const CapabilityMask ambient,
                   ReadCapabilities(c.add_ambient_capabilities(), "add_ambient_capabilities"));
  CapabilityMask mask = DefaultCapabilities();
  if (request.privileged()) {
    mask = kAllCapabilities;
  } else if (drop == kAllCapabilities) {
    mask = add;
  } else {
    mask = (mask | add) & ~drop;
  }
  mask |= ambient;
  mask &= request.host.capability_limit;
  out.bounding = out.permitted = out.effective = mask;
  // The kernel lets only inheritable ones be ambient.
  out.ambient = out.inheritable = ambient & mask;
  return absl::OkStatus();
}

}  // namespace berth
