// scale_bench: what many containers cost a list and a restart of the daemon.
//
//   scale_bench [--pods N] [--containers N] [--running N] [--runs N]
//     --pods N        pods, with the host's network (default 40)
//     --containers N  containers in each (default 5)
//     --running N     of those of each pod, started ones; the others wait at their gates (default: all)
//     --runs N        restarts (kill -9) and, twenty times as many, lists (default 10)
//
// Starts a berthd (from $BERTH_BIN) in a private machine. Prints lines METRIC<TAB>UNIT<TAB>P50<TAB>P90<TAB>
// P99<TAB>SAMPLES, as cri_bench does. Needs root.
//
//   ListContainers        of all containers, until a client has the messages (on an arena)
//   ListContainers.bytes  of that, until the last byte has come
//   restart.list          from the execve of the daemon to the first answer to ListContainers
//   restart.list.total    containers in that answer
#include <stdlib.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/arena.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "tests/bench/samples.h"
#include "tests/harness/pod_config.h"
#include "tests/harness/private_machine.h"
#include "tests/harness/test_daemon.h"
#include "tests/harness/test_registry.h"

namespace berth::testing {
namespace {

struct Options {
  int pods = 40, containers = 5, running = -1, runs = 10;
};

void Require(const absl::Status& status, const char* what) {
  if (status.ok()) return;
  fprintf(stderr, "scale_bench: %s: %s\n", what, status.ToString().c_str());
  exit(1);
}
template <typename T>
T Require(absl::StatusOr<T> result, const char* what) {
  Require(result.status(), what);
  return *std::move(result);
}

void Print(const char* metric, const char* unit, const Samples& samples) {
  printf("%s\t%s\t%.3f\t%.3f\t%.3f\t%d\n", metric, unit, samples.Percentile(0.5),
         samples.Percentile(0.9), samples.Percentile(0.99), samples.size());
  fflush(stdout);
}

void Fill(TestDaemon* daemon, const std::string& image, const Options& options, int pod) {
  const std::string name = absl::StrCat("scale-", pod);
  cri::PodSandboxConfig config = HostNetworkPod(name);
  config.set_log_directory(daemon->pod_logs() + "/" + name);
  const std::string id = Require(daemon->cri().RunPod(config), "RunPodSandbox");
  for (int i = 0; i < options.containers; ++i) {
    cri::ContainerConfig container = Container(absl::StrCat("c", i), image, {"sleep", "1000000"});
    MatchNamespaces(config, &container);
    const std::string made =
        Require(daemon->cri().CreateContainer(id, container, config), "CreateContainer");
    if (options.running >= 0 && i >= options.running) continue;
    Require(daemon->cri().StartContainer(made), "StartContainer");
  }
}

// The answer to a ListContainers, as it comes.
grpc::ByteBuffer ListBytes(grpc::GenericStub* stub) {
  grpc::ByteBuffer request, response;
  bool own_buffer;
  grpc::SerializationTraits<google::protobuf::Message>::Serialize(cri::ListContainersRequest(),
                                                                  &request, &own_buffer);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::Status status;
  const auto call = stub->PrepareUnaryCall(&context, "/runtime.v1.RuntimeService/ListContainers",
                                           request, &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  if (!status.ok()) Require(absl::InternalError(status.error_message()), "ListContainers");
  return response;
}

void MeasureLists(TestDaemon* daemon, const Options& options) {
  grpc::GenericStub stub(grpc::CreateChannel(absl::StrCat("unix:", daemon->socket()),
                                             grpc::InsecureChannelCredentials()));
  Samples lists, bytes;
  for (int i = 0; i < options.runs * 20; ++i) {
    google::protobuf::Arena arena;
    auto* response = google::protobuf::Arena::CreateMessage<cri::ListContainersResponse>(&arena);
    Timer timer(&lists);
    grpc::ByteBuffer answer;
    {
      Timer until_the_last_byte(&bytes);
      answer = ListBytes(&stub);
    }
    if (!grpc::SerializationTraits<google::protobuf::Message>::Deserialize(&answer, response)
             .ok() ||
        response->containers_size() != options.pods * options.containers) {
      Require(absl::InternalError("not all containers"), "ListContainers");
    }
  }
  Print("ListContainers", "ms", lists);
  Print("ListContainers.bytes", "ms", bytes);
}

void MeasureRestarts(TestDaemon* daemon, const Options& options) {
  Samples times, totals;
  for (int i = 0; i < options.runs; ++i) {
    daemon->Kill();
    const absl::Time begin = absl::Now();
    Require(daemon->Launch(), "start");
    if (!daemon->cri().WaitUntilListening(absl::Seconds(30))) exit(1);
    absl::StatusOr<std::vector<cri::Container>> list = absl::UnavailableError("");
    while (absl::IsUnavailable(list.status())) list = daemon->cri().ListContainers();
    times.Add(absl::Now() - begin);
    totals.AddValue(static_cast<double>(Require(std::move(list), "ListContainers").size()));
  }
  Print("restart.list", "ms", times);
  Print("restart.list.total", "containers", totals);
}

int Bench(const Options& options) {
  TestDaemon daemon({.name = "scale"});
  Require(daemon.Start(), "start");
  const std::string image = TestRegistry::Shared().Image("busybox:1");
  Require(daemon.cri().PullImage(image).status(), "PullImage");
  for (int pod = 0; pod < options.pods; ++pod) Fill(&daemon, image, options, pod);
  MeasureLists(&daemon, options);
  MeasureRestarts(&daemon, options);
  Require(daemon.RemoveAllPods(), "RemovePodSandbox");
  Require(daemon.Terminate().status(), "stop");
  return 0;
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    int* value = strcmp(argv[i], "--pods") == 0         ? &options.pods
                 : strcmp(argv[i], "--containers") == 0 ? &options.containers
                 : strcmp(argv[i], "--running") == 0    ? &options.running
                 : strcmp(argv[i], "--runs") == 0       ? &options.runs
                                                        : nullptr;
    if (value == nullptr || i + 1 == argc) {
      fprintf(stderr, "usage: scale_bench [--pods N] [--containers N] [--running N] [--runs N]\n");
      return 2;
    }
    *value = atoi(argv[i + 1]);
  }
  return RunInPrivateMachine([&options] { return Bench(options); });
}

}  // namespace
}  // namespace berth::testing

int main(int argc, char** argv) { return berth::testing::Main(argc, argv); }
