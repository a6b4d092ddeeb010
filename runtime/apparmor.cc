#include "runtime/apparmor.h"

#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/substitute.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/status.h"
#include "base/subprocess.h"

namespace berth {
namespace {

constexpr char kEnabled[] = "/sys/module/apparmor/parameters/enabled";
constexpr char kProfiles[] = "/sys/kernel/security/apparmor/profiles";
constexpr size_t kMaxProfiles = 16u << 20;

// As other runtimes' default: what the container's namespaces don't isolate is closed, also to a root that has
// been given capabilities. Ours alone may send it signals from outside, and nobody traces across.
constexpr char kText[] = R"(
profile $0 flags=(attach_disconnected,mediate_deleted) {
  file,
  network,
  capability,
  umount,

  signal (receive) peer=unconfined,
  signal (send, receive) peer=$0,
  ptrace (trace, read, tracedby, readby) peer=$0,
  unix,

  deny mount,

  # Of /proc only processes and what of /proc/sys is a namespace's own are written.
  deny /proc/* w,
  deny /proc/{acpi,asound,bus,driver,dynamic_debug,fs,irq,scsi,sysvipc,tty}/** w,
  deny /proc/sys/[^kn/]** w,
  deny /proc/sys/kernel/{?,??,[^s/][^h/][^m/]**} w,
  deny /proc/{sysrq-trigger,kcore,kmem,mem} rwklx,

  # Of /sys only cgroups.
  deny /sys/[^f/]*/** wklx,
  deny /sys/f[^s/]*/** wklx,
  deny /sys/fs/[^c/]*/** wklx,
  deny /sys/fs/c[^g/]*/** wklx,
  deny /sys/fs/cg[^r/]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
)";

std::string FindParser() {
  for (const char* path : {"/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"}) {
    if (access(path, X_OK) == 0) return path;
  }
  return "";
}

}  // namespace

bool AppArmorIsEnabled() {
  const absl::StatusOr<std::string> enabled = ReadFile(kEnabled, 16);
  return enabled.ok() && absl::StartsWith(*enabled, "Y") && access(kProfiles, R_OK) == 0;
}

absl::Status CheckAppArmorProfile(absl::string_view name) {
  ASSIGN_OR_RETURN(const std::string profiles, ReadFile(kProfiles, kMaxProfiles));
  // `NAME (enforce)`, one a line.
  for (absl::string_view line : absl::StrSplit(profiles, '\n', absl::SkipEmpty())) {
    const size_t mode = line.rfind(" (");
    if (mode != absl::string_view::npos && line.substr(0, mode) == name) return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("AppArmor profile \"", name, "\" is not loaded"));
}

std::string DefaultAppArmorProfileText() {
  return absl::Substitute(kText, kDefaultAppArmorProfile);
}

absl::Status LoadDefaultAppArmorProfile(absl::Time deadline) {
  RETURN_IF_ERROR(Failpoint("apparmor.load"));
  const std::string parser = FindParser();
  if (parser.empty()) return absl::NotFoundError("there is no apparmor_parser");
  SubprocessOptions options;
  options.argv = {parser, "--replace", "--skip-cache", "--quiet"};
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"};
  options.stdin_data = DefaultAppArmorProfileText();
  ASSIGN_OR_RETURN(const SubprocessResult result, RunSubprocess(options, deadline));
  if (result.timed_out) return absl::DeadlineExceededError("apparmor_parser takes too long");
  if (result.exit_code == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("apparmor_parser: ", absl::StripAsciiWhitespace(result.stderr_tail)));
}

}  // namespace berth
