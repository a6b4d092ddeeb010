#include "tests/harness/leak_check.h"

#include <dirent.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "tests/harness/private_machine.h"

namespace berth::testing {

namespace {

using Findings = std::set<std::string>;

// Of a whole machine's, which come and go: children of kthreadd.
bool IsKernelThread(const std::string& stat) {
  const size_t name_end = stat.rfind(") ");
  return name_end != std::string::npos &&
         (absl::StrContains(stat.substr(name_end, 8), " 2 ") || absl::StartsWith(stat, "2 "));
}

pid_t ParentIn(const std::string& stat) {
  const size_t name_end = stat.rfind(") ");
  pid_t parent = 0;
  if (name_end != std::string::npos) sscanf(stat.c_str() + name_end, ") %*c %d", &parent);
  return parent;
}

void LookAtProcesses(const std::set<pid_t>& ignored, Findings* findings) {
  auto names = ListDirectory("/proc");
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string stat = ReadFile(absl::StrCat("/proc/", name, "/stat")).value_or("");
    std::string line = ReadFile(absl::StrCat("/proc/", name, "/cmdline")).value_or("");
    std::replace(line.begin(), line.end(), '\0', ' ');
    if (line.empty()) line = stat;
    if (line.empty() || IsKernelThread(line) || ignored.contains(std::stoi(name))) continue;
    if (absl::StartsWith(line, "berth-path ") && ignored.contains(ParentIn(stat))) continue;
    findings->insert(absl::StrCat("process ", name, ": ", line));
  }
}

void LookAtMounts(Findings* findings) {
  std::istringstream lines(ReadFile("/proc/self/mountinfo").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, point;
    fields >> id >> parent >> device >> root >> point;
    findings->insert(absl::StrCat("mount ", point, " (", id, ")"));
  }
}

void LookAtNetns(Findings* findings) {
  auto names = ListDirectory("/run/netns");
  if (!names.ok()) return;
  for (const std::string& name : *names) findings->insert(absl::StrCat("netns ", name));
}

// Every directory or every file below `directory`.
void Walk(const std::string& directory, bool directories,
          const std::function<void(const std::string&)>& found) {
  auto names = ListDirectory(directory);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    const std::string path = absl::StrCat(directory, "/", name);
    struct stat info;
    if (lstat(path.c_str(), &info) != 0) continue;
    if (!S_ISDIR(info.st_mode)) {
      if (!directories) found(path);
      continue;
    }
    found(path);
    Walk(path, directories, found);
  }
}

void LookAtCgroups(Findings* findings) {
  const std::string top = "/sys/fs/cgroup";
  // Pure cgroup v2: what is below the tests' own cgroup or slice.
  for (const std::string& tree : {TestCgroup(), std::string("/berthtest.slice")}) {
    Walk(top + tree, /*directories=*/true, [&](const std::string& path) {
      findings->insert(absl::StrCat("cgroup ", path.substr(top.size() + 1)));
    });
  }
  auto hierarchies = ListDirectory(top);
  if (!hierarchies.ok()) return;
  for (const std::string& hierarchy : *hierarchies) {
    Walk(absl::StrCat(top, "/", hierarchy, TestCgroup()), /*directories=*/true,
         [&](const std::string& path) {
           findings->insert(absl::StrCat("cgroup ", path.substr(top.size() + 1)));
         });
  }
}

}  // namespace

LeakCheck::LeakCheck(std::vector<std::string> directories) : directories_(std::move(directories)) {
  before_ = Look();
}

std::set<std::string> LeakCheck::Look() const {
  Findings findings;
  LookAtProcesses(ignored_processes_, &findings);
  LookAtMounts(&findings);
  LookAtNetns(&findings);
  LookAtCgroups(&findings);
  if (struct if_nameindex* interfaces = if_nameindex()) {
    for (struct if_nameindex* i = interfaces; i->if_index != 0; ++i) {
      if (ignored_interfaces_.count(i->if_name) == 0) {
        findings.insert(absl::StrCat("interface ", i->if_name));
      }
    }
    if_freenameindex(interfaces);
  }
  for (const std::string& directory : directories_) {
    Walk(directory, /*directories=*/false, [&](const std::string& path) {
      const bool ignored =
          std::any_of(ignored_files_.begin(), ignored_files_.end(),
                      [&](const std::string& text) { return absl::StrContains(path, text); });
      if (!ignored) findings.insert(absl::StrCat("file ", path));
    });
  }
  return findings;
}

std::vector<std::string> LeakCheck::Leaks(absl::Duration patience) const {
  const absl::Time deadline = absl::Now() + patience;
  for (;;) {
    const Findings now = Look();
    std::vector<std::string> leaks;
    std::set_difference(now.begin(), now.end(), before_.begin(), before_.end(),
                        std::back_inserter(leaks));
    if (leaks.empty() || absl::Now() > deadline) return leaks;
    absl::SleepFor(absl::Milliseconds(20));
  }
}

}  // namespace berth::testing
