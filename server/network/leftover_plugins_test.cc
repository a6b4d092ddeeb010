#include "server/network/leftover_plugins.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/ids.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

// Runs `sh -c script` with the variable; the caller reaps it.
pid_t Spawn(const std::string& id, const char* script, const char* name = "CNI_CONTAINERID") {
  const std::string variable = absl::StrCat(name, "=", id);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  const char* argv[] = {"sh", "-c", script, nullptr};
  const char* environment[] = {"PATH=/bin:/usr/bin", variable.c_str(), nullptr};
  execve("/bin/sh", const_cast<char**>(argv), const_cast<char**>(environment));
  _exit(127);
}

// Waits until it is a shell, with its environment in place.
void WaitForExec(pid_t pid) {
  char target[256] = {};
  char self[256] = {};
  ASSERT_GT(readlink("/proc/self/exe", self, sizeof self - 1), 0);
  do {
    ASSERT_GT(readlink(absl::StrCat("/proc/", pid, "/exe").c_str(), target, sizeof target - 1), 0);
  } while (std::string(target) == self);
}

int Status(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

TEST(LeftoverPluginsTest, OneThatHangsIsKilledAndOthersAreLeftAlone) {
  const std::string id = RandomHexId();
  const pid_t plugin = Spawn(id, "sleep 1000 & wait");
  const pid_t other = Spawn(RandomHexId(), "exec sleep 1000");
  WaitForExec(plugin);
  WaitForExec(other);
  EXPECT_TRUE(EndLeftoverPlugins({RandomHexId(), id}, absl::Milliseconds(10),
                                 absl::Now() + absl::Seconds(20))
                  .ok());
  EXPECT_EQ(Status(plugin), SIGKILL);
  EXPECT_EQ(kill(other, 0), 0);
  kill(other, SIGKILL);
  EXPECT_EQ(Status(other), SIGKILL);
}

TEST(LeftoverPluginsTest, OneThatEndsInTimeIsNotKilled) {
  const std::string id = RandomHexId();
  const pid_t plugin = Spawn(id, "sleep 0.2; exit 7");
  WaitForExec(plugin);
  EXPECT_TRUE(EndLeftoverPlugins({id}, absl::Seconds(20), absl::Now() + absl::Seconds(20)).ok());
  const int status = Status(plugin);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(LeftoverPluginsTest, NoneIsFine) {
  EXPECT_TRUE(EndLeftoverPlugins({RandomHexId()}, absl::Seconds(1), absl::Now()).ok());
}

TEST(LeftoverPluginsTest, WhatIsStoppedIsKilledIfItIsOurs) {
  const std::string instance = RandomHexId();
  const pid_t stopped = Spawn(instance, "exec sleep 1000", "BERTH_INSTANCE");
  const pid_t running = Spawn(instance, "exec sleep 1000", "BERTH_INSTANCE");
  const pid_t other = Spawn(RandomHexId(), "exec sleep 1000", "BERTH_INSTANCE");
  for (const pid_t pid : {stopped, running, other}) WaitForExec(pid);
  for (const pid_t pid : {stopped, other}) {
    kill(pid, SIGSTOP);
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
  }
  KillStoppedPlugins(instance);
  EXPECT_EQ(Status(stopped), SIGKILL);
  for (const pid_t pid : {running, other}) {
    EXPECT_EQ(waitpid(pid, nullptr, WNOHANG), 0);
    kill(pid, SIGKILL);
    Status(pid);
  }
}

}  // namespace
}  // namespace berth
