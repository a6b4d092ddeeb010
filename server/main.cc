// berthd: the daemon's process.
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/version.h"
#include "server/config/config.h"
#include "server/daemon.h"
#include "server/notify/notify.h"

namespace berth {
namespace {

constexpr int kUsageError = 2;

void LogNotify(const absl::Status& status) {
  if (!status.ok()) LogWarning("notify the service manager: ", status.message(), ", ignoring");
}

// The signals that end the daemon, taken by sigwait and nobody else.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

// Memory and time that a daemon on every node should not cost.
void TuneProcess() {
  // glibc would give each of the pool's threads an arena of its own.
  mallopt(M_ARENA_MAX, 2);
  // Debian builds Abseil with the detection on: a global lock and a graph for each Mutex::Lock.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

int Serve(const Config& config) {
  TuneProcess();
  const sigset_t signals = BlockSignals();
  absl::StatusOr<std::unique_ptr<Daemon>> daemon = Daemon::Start(config);
  if (!daemon.ok()) {
    LogError("start: ", daemon.status().message());
    return 1;
  }
  LogNotify(NotifyReady());
  int signal = 0;
  sigwait(&signals, &signal);
  LogInfo("signal ", signal, ": ending; containers stay");
  LogNotify(NotifyStopping());
  if (!(*daemon)->Stop()) {
    LogError("a call did not end in time");
    _exit(1);
  }
  // What is left is memory. To give it back, gRPC 1.51 waits up to ten seconds for a poller of its own, if it
  // has sent a large message.
  _exit(0);
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) {
    fprintf(stderr, "berthd: %s\n", std::string(line.status().message()).c_str());
    return kUsageError;
  }
  if (line->action == CommandLine::kHelp) {
    fputs(HelpText().c_str(), stdout);
    return 0;
  }
  if (line->action == CommandLine::kVersion) {
    printf("berthd %s\n", kBerthVersion);
    return 0;
  }
  LogLevel level = LogLevel::kInfo;
  ParseLogLevel(line->config.log_level, &level);
  SetLogLevel(level);
  if (const char* failpoints = getenv("BERTH_FAILPOINTS"); failpoints != nullptr) {
    if (absl::Status armed = ArmFailpoints(failpoints); !armed.ok()) {
      fprintf(stderr, "berthd: %s\n", std::string(armed.message()).c_str());
      return kUsageError;
    }
    LogWarning("failpoints are armed: ", failpoints);
  }
  if (const char* offset = getenv("BERTH_WALL_CLOCK_OFFSET"); offset != nullptr) {
    if (absl::Status shared = ShareWallClockOffset(offset); !shared.ok()) {
      fprintf(stderr, "berthd: %s\n", std::string(shared.message()).c_str());
      return kUsageError;
    }
    LogWarning("the wall clock is off by what ", offset, " says");
  }
  return Serve(line->config);
}

}  // namespace
}  // namespace berth

int main(int argc, char** argv) { return berth::Main(argc, argv); }
