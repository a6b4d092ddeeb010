// /etc/passwd and /etc/group of an image, as the executor reads them.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "base/files.h"
#include "base/unique_fd.h"
#include "runtime/executor_user.h"
#include "runtime/plan_builder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

namespace {

void WriteEtc(const char* name, absl::string_view text) {
  const std::string path = berth::ScratchDirectory() + "/etc/" + name;
  const berth::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  FUZZ_CHECK(fd.valid() && berth::WriteFd(fd.get(), text).ok());
}

absl::string_view TakeUntilFormFeed(absl::string_view* input) {
  const size_t end = input->find('\f');
  const absl::string_view part = input->substr(0, end);
  input->remove_prefix(end == absl::string_view::npos ? input->size() : end + 1);
  return part;
}

}  // namespace

// A line for the user, one for the group, passwd up to a form feed, then group.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view input = berth::Text(data, size);
  berth::PlanContents contents;
  contents.rootfs_kind = berth::RootfsKind::kBind;
  contents.lowers = {"/rootfs"};
  contents.argv = {"/bin/true"};
  contents.groups = {1, 2, 3};
  const unsigned choice = berth::TakeChoice(&input, 8);
  contents.user_flags = choice % 4;  // of UserFlag
  contents.flags = (choice & 4) != 0 ? berth::kPlanStrictGroups : 0u;
  contents.uid = 7;
  contents.user = std::string(berth::TakeLine(&input));
  contents.group = std::string(berth::TakeLine(&input));
  const auto plan = berth::BuildPlan(contents);
  if (!plan.ok()) return 0;
  FUZZ_CHECK(berth::MakeDirectories(berth::ScratchDirectory() + "/etc", 0755).ok());
  WriteEtc("passwd", TakeUntilFormFeed(&input));
  WriteEtc("group", input);
  static const int root = open(berth::ScratchDirectory().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  berth::ProcessUser user;
  const auto& view = *reinterpret_cast<const berth::Plan*>(plan->data());
  if (berth::ResolveUser(view, root, &user) != berth::Step::kNone) return 0;
  FUZZ_CHECK(user.group_count <= berth::kMaxPlanGroups);
  FUZZ_CHECK(user.home[0] == '/' && strnlen(user.home, sizeof user.home) < sizeof user.home);
  return 0;
}
