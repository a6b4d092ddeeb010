// Metrics and their server without a daemon: what they cost, and what promtool says of them.
//
//   metrics_probe --print       prints every series once
//   metrics_probe HOST:PORT     serves until SIGTERM
#include <signal.h>
#include <stdio.h>

#include <string>

#include "absl/strings/string_view.h"
#include "server/metrics/http_server.h"
#include "server/metrics/metrics.h"

int main(int argc, char** argv) {
  using namespace berth;  // NOLINT
  if (argc != 2) {
    fprintf(stderr, "usage: metrics_probe --print | HOST:PORT\n");
    return 2;
  }
  Metrics metrics;
  metrics.SetStateSource([] { return StateCounts{.keepers = {{"connected", 1}}}; });
  metrics.Rpc("RunPodSandbox")->Observe(absl::Milliseconds(1), absl::StatusCode::kInternal);
  if (absl::string_view(argv[1]) == "--print") {
    const std::string text = metrics.Serialize();
    return fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 1;
  }
  HttpServer server;
  server.Handle("/metrics", [&metrics](const HttpRequest&) {
    return HttpResponse{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                        .body = metrics.Serialize()};
  });
  if (absl::Status status = server.Start(argv[1]); !status.ok()) {
    fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 1;
  }
  fprintf(stderr, "http://%s/metrics\n", server.address().c_str());
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  int signal;
  sigwait(&set, &signal);
  return 0;
}
