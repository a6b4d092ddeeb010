#include "tests/bench/stream_bench.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/bench/process_cost.h"
#include "tests/bench/report.h"
#include "tests/bench/samples.h"
#include "tests/streaming/spdy_client.h"

namespace berth::testing {
namespace {

constexpr int kAtOnce = 100;
constexpr uint64_t kExecBytes = 1'000'000'000;
// 300 MB in lines of 101 bytes: a file of 99,000 lines, 30 times.
constexpr int kLinesOfFile = 99'000;
constexpr int kFiles = 30;
constexpr uint64_t kLogBytes = uint64_t{101} * kLinesOfFile * kFiles;
constexpr int kBigRuns = 3;

uint64_t SizeOf(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

class StreamBench {
 public:
  StreamBench(CriClient* client, const StreamBenchOptions& options)
      : client_(client), options_(options) {
    pod_ = Require(client_->RunPod(options_.pod), "RunPodSandbox");
  }
  // What has been measured counts even if the runtime has not got over it.
  ~StreamBench() {
    absl::Status status = client_->StopPod(pod_);
    if (status.ok()) status = client_->RemovePod(pod_);
    if (!status.ok()) fprintf(stderr, "cri_bench: stop: %s\n", status.ToString().c_str());
  }
  StreamBench(const StreamBench&) = delete;
  StreamBench& operator=(const StreamBench&) = delete;

  void MeasureAll() {
    sleeper_ = StartContainer("sleeper", {"sleep", "100000"});
    MeasureFirstByte();
    MeasureThroughput();
    MeasureLog();
    MeasureManyAtOnce();  // the last, as some don't get over it
  }

 private:
  std::string StartContainer(const std::string& name, const std::vector<std::string>& command) {
    cri::ContainerConfig config = Container(name, options_.image, command);
    MatchNamespaces(options_.pod, &config);
    const std::string id =
        Require(client_->CreateContainer(pod_, config, options_.pod), "CreateContainer");
    Require(client_->StartContainer(id), "StartContainer");
    return id;
  }

  absl::StatusOr<CommandClient> Exec(const std::vector<std::string>& command) {
    cri::ExecRequest request;
    request.set_container_id(sleeper_);
    for (const std::string& word : command) request.add_cmd(word);
    request.set_stdout(true);
    request.set_stderr(true);
    const auto answer = client_->Call(&CriClient::Runtime::Exec, request);
    if (!answer.ok()) return answer.status();
    return OpenCommand(answer->url(), false, true, true, false, {});
  }

  // From the call of Exec to the first byte of the output.
  void MeasureFirstByte() {
    Samples first, discarded;
    for (int i = -5; i < options_.runs; ++i) {
      const absl::Time begin = absl::Now();
      CommandClient c = Require(Exec({"echo", "x"}), "exec");
      const bool came = c.spdy->ReadUntil([&] { return !c.spdy->stream(c.out).bytes.empty(); });
      if (!came) Die("exec", absl::DataLossError("no output"));
      (i < 0 ? discarded : first).Add(absl::Now() - begin);
      c.spdy->ReadAll(c.error);
    }
    Print("exec-first-byte", "ms", first);
  }

  void MeasureThroughput() {
    Samples seconds;
    for (int i = 0; i < kBigRuns; ++i) {
      const absl::Time begin = absl::Now();
      CommandClient c = Require(
          Exec({"dd", "if=/dev/zero", "bs=100000", absl::StrCat("count=", kExecBytes / 100000)}),
          "exec");
      c.spdy->CountOnly();
      c.spdy->ReadUntil([&] { return c.spdy->stream(c.out).ended; }, absl::Minutes(5));
      seconds.AddValue(absl::ToDoubleSeconds(absl::Now() - begin));
      if (c.spdy->counted() < kExecBytes) Die("exec", absl::DataLossError("bytes are missing"));
    }
    Print("exec-1GB", "s", seconds);
  }

  void MeasureManyAtOnce() {
    Samples took;
    std::atomic<int> failed = 0;
    for (int i = 0; i < kBigRuns; ++i) {
      const absl::Time begin = absl::Now();
      std::vector<std::thread> threads;
      threads.reserve(kAtOnce);
      for (int n = 0; n < kAtOnce; ++n) {
        threads.emplace_back([&] {
          auto c = Exec({"echo", "x"});
          const auto over = [&] { return c->spdy->stream(c->error).ended; };
          const bool good = c.ok() && c->spdy->ReadUntil(over, absl::Minutes(1)) &&
                            c->spdy->ReadAll(c->out) == "x\n" &&
                            absl::StrContains(c->spdy->ReadAll(c->error), "Success");
          if (!good) ++failed;
        });
      }
      for (std::thread& thread : threads) thread.join();
      took.AddValue(absl::ToDoubleMilliseconds(absl::Now() - begin));
    }
    Print("exec-100-at-once", "ms", took);
    PrintValue("exec-100-failed", "execs", failed);
  }

  // From the word to begin to the exit, or to the log's last byte if that comes later.
  void MeasureLog() {
    Samples seconds;
    double most_growth = 0;
    for (int i = 0; i < kBigRuns; ++i) {
      const std::string id = StartContainer(
          absl::StrCat("writer", i),
          {"sh", "-c",
           absl::StrCat("yes ", std::string(100, 'x'), " | head -n ", kLinesOfFile,
                        " >/lines; : >/ready; while [ ! -e /go ]; do sleep 0.01; done; i=0; "
                        "while [ $i -lt ",
                        kFiles, " ]; do cat /lines; i=$((i+1)); done")});
      while (Require(client_->ExecSync(id, {"test", "-e", "/ready"}), "ExecSync").exit_code() != 0)
        absl::SleepFor(absl::Milliseconds(10));
      MemoryWatch watch(options_.runtime());
      const absl::Time begin = absl::Now();
      Require(client_->ExecSync(id, {"touch", "/go"}).status(), "ExecSync");
      const cri::ContainerStatus status =
          Require(client_->WaitForExit(id, absl::Minutes(5)), "exit");
      const absl::Time end = WhenComplete(status.log_path(), absl::Now());
      seconds.AddValue(absl::ToDoubleSeconds(end - begin));
      most_growth = std::max(most_growth, watch.MostGrowthKib());
      if (SizeOf(status.log_path()) < kLogBytes)
        Die("log", absl::DataLossError("bytes are missing"));
      unlink(status.log_path().c_str());
      Require(client_->RemoveContainer(id), "RemoveContainer");
    }
    Print("log-300MB", "s", seconds);
    PrintValue("log-300MB.memory", "KiB more", most_growth);
  }

  static absl::Time WhenComplete(const std::string& path, absl::Time end) {
    uint64_t size = SizeOf(path);
    for (int same = 0; same < 20; ++same) {
      absl::SleepFor(absl::Milliseconds(10));
      const uint64_t now = SizeOf(path);
      if (now == size) continue;
      size = now;
      same = 0;
      end = absl::Now();
    }
    return end;
  }

  // How much more the runtime's processes take than at the beginning, at most, by looks ten times a second.
  class MemoryWatch {
   public:
    explicit MemoryWatch(const std::set<pid_t>& processes)
        : processes_(processes), before_(PssKib(processes)), thread_([this] { Look(); }) {}
    ~MemoryWatch() { MostGrowthKib(); }
    MemoryWatch(const MemoryWatch&) = delete;
    MemoryWatch& operator=(const MemoryWatch&) = delete;
    double MostGrowthKib() {
      over_ = true;
      if (thread_.joinable()) thread_.join();
      return std::max(0.0, most_ - before_);
    }

   private:
    void Look() {
      while (!over_) {
        most_ = std::max(most_, PssKib(processes_));
        absl::SleepFor(absl::Milliseconds(100));
      }
    }

    const std::set<pid_t> processes_;
    const double before_;
    double most_ = 0;
    std::atomic<bool> over_ = false;
    std::thread thread_;
  };

  CriClient* const client_;
  const StreamBenchOptions& options_;
  std::string pod_, sleeper_;
};

}  // namespace

void MeasureStreams(CriClient* client, const StreamBenchOptions& options) {
  StreamBench(client, options).MeasureAll();
}

}  // namespace berth::testing
