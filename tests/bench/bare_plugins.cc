#include "tests/bench/bare_plugins.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "server/network/cni_config.h"

namespace berth::testing {
namespace {

using nlohmann::json;

absl::StatusOr<UniqueFd> NewNetns() {
  absl::StatusOr<UniqueFd> netns = absl::UnknownError("not run");
  std::thread([&netns] {
    netns = unshare(CLONE_NEWNET) == 0 ? OpenFile("/proc/thread-self/ns/net", O_RDONLY)
                                       : absl::StatusOr<UniqueFd>(ErrnoStatus("unshare"));
  }).join();
  return netns;
}

class Plugins : public BarePlugins {
 public:
  Plugins(CniConfigList list, std::string directory)
      : list_(std::move(list)), directory_(std::move(directory)) {}

  absl::StatusOr<absl::Duration> Run() override {
    ASSIGN_OR_RETURN(const UniqueFd netns, NewNetns());
    const std::string path = absl::StrCat("/proc/", getpid(), "/fd/", netns.get());
    const std::string id = RandomHexId();
    const absl::Time start = absl::Now();
    json result;
    for (const CniPlugin& plugin : list_.plugins) {
      ASSIGN_OR_RETURN(const std::string output, Call(plugin, "ADD", id, path, result));
      result = json::parse(output, nullptr, false);
    }
    const absl::Duration took = absl::Now() - start;
    for (size_t i = list_.plugins.size(); i-- > 0;) {
      RETURN_IF_ERROR(Call(list_.plugins[i], "DEL", id, path, result).status());
    }
    return took;
  }

 private:
  absl::StatusOr<std::string> Call(const CniPlugin& plugin, const std::string& command,
                                   const std::string& id, const std::string& netns,
                                   const json& prev_result) {
    const UniqueFd in(memfd_create("stdin", MFD_CLOEXEC));
    RETURN_IF_ERROR(
        WriteFd(in.get(), PluginInput(list_, plugin, json::object(), prev_result).dump()));
    lseek(in.get(), 0, SEEK_SET);
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) return ErrnoStatus("pipe2");
    const UniqueFd out(pipe_fds[0]);
    UniqueFd child_out(pipe_fds[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in.get(), 0);
    posix_spawn_file_actions_adddup2(&actions, child_out.get(), 1);
    std::string program = absl::StrCat(directory_, "/", plugin.type);
    std::vector<std::string> variables = {"CNI_COMMAND=" + command,
                                          "CNI_CONTAINERID=" + id,
                                          "CNI_NETNS=" + netns,
                                          "CNI_IFNAME=eth0",
                                          "CNI_PATH=" + directory_,
                                          "CNI_ARGS=IgnoreUnknown=1",
                                          "PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
    std::vector<char*> environment;
    environment.reserve(variables.size() + 1);
    for (std::string& variable : variables) environment.push_back(variable.data());
    environment.push_back(nullptr);
    char* argv[] = {program.data(), nullptr};
    pid_t pid = -1;
    const int error =
        posix_spawn(&pid, program.c_str(), &actions, nullptr, argv, environment.data());
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) return ErrnoStatusOf(error, absl::StrCat("spawn ", program));
    child_out.reset();
    absl::StatusOr<std::string> output = ReadFd(out.get());
    int status = 0;
    waitpid(pid, &status, 0);
    RETURN_IF_ERROR(output.status());
    if (status == 0) return output;
    return absl::InternalError(absl::StrCat(program, " ", command, ": ", *output));
  }

  const CniConfigList list_;
  const std::string directory_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BarePlugins>> LoadBarePlugins(const std::string& conflist,
                                                             const std::string& directory) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(conflist));
  ASSIGN_OR_RETURN_WITH(CniConfigList list, ParseCniConfigList(text), conflist);
  return std::unique_ptr<BarePlugins>(new Plugins(std::move(list), directory));
}

}  // namespace berth::testing
