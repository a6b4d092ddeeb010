// What a runtime may leave behind on a machine, listed, so that before and after can be compared.
//
// It relies on the private machine: every process, mount and interface there is the test's.
#ifndef BERTH_TESTS_HARNESS_LEAK_CHECK_H_
#define BERTH_TESTS_HARNESS_LEAK_CHECK_H_

#include <sys/types.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace berth::testing {

class LeakCheck {
 public:
  // Looks at the machine now. `directories`: trees whose files count, too.
  explicit LeakCheck(std::vector<std::string> directories = {});

  // What there is now and was not then, one line each: `process 12: berth-keeper …`, `mount /…`,
  // `netns …`, `cgroup memory:/…`, `interface veth…`, `file /…`. Looks again for up to `patience`
  // while there is something: a zombie may not have been reaped yet.
  std::vector<std::string> Leaks(absl::Duration patience = absl::Seconds(3)) const;

  // Not counted: a process that is to go on with those that open paths for it, interfaces of this name (a CNI
  // bridge stays by design), and files whose path contains the text.
  void IgnoreProcess(pid_t pid) { ignored_processes_.insert(pid); }
  void IgnoreInterface(const std::string& name) { ignored_interfaces_.insert(name); }
  void IgnoreFiles(const std::string& text) { ignored_files_.push_back(text); }

 private:
  std::set<std::string> Look() const;

  const std::vector<std::string> directories_;
  std::set<pid_t> ignored_processes_;
  std::set<std::string> ignored_interfaces_;
  std::vector<std::string> ignored_files_;
  std::set<std::string> before_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_HARNESS_LEAK_CHECK_H_
