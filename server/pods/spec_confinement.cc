// What a container may not see or call: masked and read-only paths, seccomp, AppArmor.
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "runtime/apparmor.h"
#include "runtime/seccomp/profile.h"
#include "server/pods/spec_parts.h"

// CRI's deprecated profile paths still come from older clients.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

absl::Status AddPaths(const SpecRequest& request, BuiltSpec* built) {
  if (request.privileged()) return absl::OkStatus();
  const auto copy = [](const auto& from, const char* field,
                       std::vector<std::string>* to) -> absl::Status {
    for (int i = 0; i < from.size(); ++i) {
      if (!IsAbsolutePath(from[i])) {
        return InvalidField(absl::StrCat(kContextField, ".", field, "[", i, "]"),
                            absl::StrCat("\"", from[i], "\" is not absolute"));
      }
      to->push_back(from[i]);
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(
      copy(request.context().masked_paths(), "masked_paths", &built->spec.linux_.masked_paths));
  return copy(request.context().readonly_paths(), "readonly_paths",
              &built->spec.linux_.readonly_paths);
}

// The deprecated path of before CRI had SecurityProfile, as one.
absl::StatusOr<cri::SecurityProfile> OldProfile(absl::string_view path, absl::string_view field) {
  cri::SecurityProfile profile;
  if (path.empty() || path == "unconfined") {
    profile.set_profile_type(cri::SecurityProfile::Unconfined);
  } else if (path == "runtime/default" || path == "docker/default") {
    profile.set_profile_type(cri::SecurityProfile::RuntimeDefault);
  } else if (absl::ConsumePrefix(&path, "localhost/")) {
    profile.set_profile_type(cri::SecurityProfile::Localhost);
    profile.set_localhost_ref(std::string(path));
  } else {
    return InvalidField(field, absl::StrCat("unknown profile \"", path, "\""));
  }
  return profile;
}

absl::Status CheckProfile(const cri::SecurityProfile& profile, const std::string& field) {
  switch (profile.profile_type()) {
    case cri::SecurityProfile::RuntimeDefault:
    case cri::SecurityProfile::Unconfined:
      if (profile.localhost_ref().empty()) return absl::OkStatus();
      return InvalidField(absl::StrCat(field, ".localhost_ref"), "is for profile_type Localhost");
    case cri::SecurityProfile::Localhost:
      if (!profile.localhost_ref().empty()) return absl::OkStatus();
      return InvalidField(absl::StrCat(field, ".localhost_ref"), "missing");
    default:
      return InvalidField(absl::StrCat(field, ".profile_type"), "unknown");
  }
}

// A profile that was asked for, by whichever field says it.
struct AskedProfile {
  std::string field;
  cri::SecurityProfile profile;
};

absl::StatusOr<AskedProfile> ReadProfile(bool has_new, const cri::SecurityProfile& profile,
                                         const char* field, absl::string_view old_path,
                                         const char* old_field) {
  const bool is_old = !has_new && !old_path.empty();
  AskedProfile asked{absl::StrCat(kContextField, ".", is_old ? old_field : field), profile};
  if (!has_new) {
    ASSIGN_OR_RETURN(asked.profile, OldProfile(old_path, asked.field));
  }
  RETURN_IF_ERROR(CheckProfile(asked.profile, asked.field));
  return asked;
}

absl::Status AddSeccomp(const SpecRequest& request, BuiltSpec* built) {
  const cri::LinuxContainerSecurityContext& context = request.context();
  ASSIGN_OR_RETURN(const AskedProfile asked,
                   ReadProfile(context.has_seccomp(), context.seccomp(), "seccomp",
                               context.seccomp_profile_path(), "seccomp_profile_path"));
  const auto& [field, profile] = asked;
  if (request.privileged() || profile.profile_type() == cri::SecurityProfile::Unconfined) {
    return absl::OkStatus();
  }
  if (profile.profile_type() == cri::SecurityProfile::RuntimeDefault) {
    built->spec.linux_.seccomp = DefaultSeccompProfile(built->process().capabilities->bounding);
    return absl::OkStatus();
  }
  absl::string_view path = profile.localhost_ref();
  absl::ConsumePrefix(&path, "localhost/");
  if (!IsAbsolutePath(path)) {
    return InvalidField(absl::StrCat(field, ".localhost_ref"),
                        absl::StrCat("\"", path, "\" is not absolute"));
  }
  ASSIGN_OR_RETURN_WITH(const std::string text, request.host.read_profile(std::string(path)),
                        absl::StrCat(field, ".localhost_ref"));
  ASSIGN_OR_RETURN(SeccompProfile parsed,
                   ParseSeccompProfile(text, absl::StrCat("seccomp profile ", path)));
  built->spec.linux_.seccomp = std::make_shared<const SeccompProfile>(std::move(parsed));
  return absl::OkStatus();
}

absl::Status NoAppArmor(const std::string& field) {
  return absl::FailedPreconditionError(
      absl::StrCat(field, ": this node's kernel has no AppArmor, or it is switched off"));
}

// What a pod asks for is got or refused. One that says nothing gets the default where there is one.
absl::Status AddAppArmor(const SpecRequest& request, BuiltSpec* built) {
  const cri::LinuxContainerSecurityContext& context = request.context();
  ASSIGN_OR_RETURN(const AskedProfile asked,
                   ReadProfile(context.has_apparmor(), context.apparmor(), "apparmor",
                               context.apparmor_profile(), "apparmor_profile"));
  const auto& [field, profile] = asked;
  if (!context.has_apparmor() && context.apparmor_profile().empty()) {
    if (request.host.apparmor && request.host.apparmor_default && !request.privileged()) {
      built->process().apparmor_profile = kDefaultAppArmorProfile;
    }
    return absl::OkStatus();
  }
  if (profile.profile_type() == cri::SecurityProfile::Unconfined) return absl::OkStatus();
  if (!request.host.apparmor) return NoAppArmor(field);
  if (profile.profile_type() == cri::SecurityProfile::RuntimeDefault) {
    if (request.privileged()) return absl::OkStatus();
    if (!request.host.apparmor_default) {
      return absl::FailedPreconditionError(
          absl::StrCat(field, ": the default profile is not loaded; berthd's log says why"));
    }
    built->process().apparmor_profile = kDefaultAppArmorProfile;
    return absl::OkStatus();
  }
  absl::string_view name = profile.localhost_ref();
  absl::ConsumePrefix(&name, "localhost/");
  const absl::Status loaded = request.host.apparmor_profile(std::string(name));
  if (absl::IsNotFound(loaded)) return InvalidField(field, loaded.message());
  RETURN_IF_ERROR_WITH(loaded, field);
  built->process().apparmor_profile = std::string(name);
  return absl::OkStatus();
}

}  // namespace

absl::Status AddConfinement(const SpecRequest& request, BuiltSpec* built) {
  RETURN_IF_ERROR(AddPaths(request, built));
  RETURN_IF_ERROR(AddSeccomp(request, built));
  return AddAppArmor(request, built);
}

}  // namespace berth
