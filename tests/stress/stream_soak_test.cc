// Clients of exec, attach and port-forward, over every transport, that are cut off at random instants: no
// descriptor, thread or process of the daemon, the keeper or the containers is more afterwards.
//
// Seeded; the seed is printed. From the environment:
//   BERTH_SOAK_SEED     (default: the time)
//   BERTH_SOAK_SECONDS  (default 6)
//   BERTH_STRESS_SANITIZED  set if the daemon is built with a sanitizer: its memory tells nothing then
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"
#include "tests/streaming/spdy_client.h"
#include "tests/streaming/web_socket_client.h"

namespace berth::testing {
namespace {

constexpr int kClients = 8;
constexpr int kPort = 7777;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = getenv(name);
  uint64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

// What the processes of this machine hold, by pid.
struct Holdings {
  size_t files = 0;
  size_t threads = 0;
  std::string name;
};
using AllHoldings = std::map<std::string, Holdings>;

AllHoldings LookAtProcesses() {
  AllHoldings all;
  for (const std::string& pid : ListDirectory("/proc").value_or(std::vector<std::string>())) {
    if (pid.find_first_not_of("0123456789") != std::string::npos || pid == absl::StrCat(getpid()))
      continue;
    const auto files = ListDirectory(absl::StrCat("/proc/", pid, "/fd"));
    const auto threads = ListDirectory(absl::StrCat("/proc/", pid, "/task"));
    if (!files.ok() || !threads.ok()) continue;
    std::string name = ReadFile(absl::StrCat("/proc/", pid, "/comm")).value_or("");
    while (!name.empty() && name.back() == '\n') name.pop_back();
    all[pid] = {files->size(), threads->size(), name};
  }
  return all;
}

// What is in `after` and not, or with less, in `before`.
std::vector<std::string> More(const AllHoldings& before, const AllHoldings& after) {
  std::vector<std::string> more;
  for (const auto& [pid, now] : after) {
    const auto found = before.find(pid);
    const Holdings then = found == before.end() ? Holdings() : found->second;
    if (found != before.end() && now.files <= then.files && now.threads <= then.threads) continue;
    more.push_back(absl::StrCat(now.name, " (", pid, "): ", now.files, " files, ", now.threads,
                                " threads; were ", then.files, ", ", then.threads));
  }
  return more;
}

// One client after the other; each does a random piece of what clients do, and ends in a random way.
class Client {
 public:
  Client(CriClient* cri, const std::string& pod, const std::string& sleeper,
         const std::string& listener, uint64_t seed)
      : cri_(cri), pod_(pod), sleeper_(sleeper), listener_(listener), random_(seed) {}

  void RunUntil(absl::Time end) {
    while (absl::Now() < end) RunOnce();
  }
  const std::map<std::string, int>& counts() const { return counts_; }

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  absl::Duration Instant() { return absl::Microseconds(Below(Below(2) == 0 ? 1000 : 25000)); }
  // Most go on; the others are cut off here.
  bool CutHere() { return Below(8) == 0; }
  std::string Bytes() {
    const size_t size = Below(4) == 0 ? Below(300000) : Below(2000);
    std::string bytes(size, static_cast<char>('a' + Below(20)));
    if (size > 0) bytes.back() = '\n';
    return bytes;
  }

  void RunOnce() {
    in_ = out_ = err_ = tty_ = false;
    const uint64_t kind = Below(3);
    const bool attach = kind == 1;
    const absl::StatusOr<std::string> url = kind == 2 ? ForwardUrl() : CommandUrl(attach);
    if (!url.ok()) {
      absl::SleepFor(absl::Milliseconds(20));  // as at the bound of tokens that nobody came with
      return Count(absl::StrCat("refused: ", url.status().message()));
    }
    if (Below(60) == 0) return Count("never connected");
    switch (Below(4)) {
      case 0:
      case 1:
        return Spdy(*url, kind == 2);
      case 2:
        return kind == 2 && Below(2) == 0 ? Tunnel(*url) : Channels(*url, kind == 2);
      default:
        return Below(6) == 0 ? HalfARequest(*url) : Channels(*url, kind == 2);
    }
  }

  absl::StatusOr<std::string> CommandUrl(bool attach) {
    in_ = Below(3) != 0;
    tty_ = !attach && Below(4) == 0;
    out_ = !in_ || Below(4) != 0;
    err_ = !tty_ && Below(2) == 0;
    const auto fill = [&](auto* request) {
      request->set_container_id(attach ? listener_ : sleeper_);
      request->set_stdin(in_);
      request->set_stdout(out_);
      request->set_stderr(err_);
      request->set_tty(tty_);
    };
    if (attach) {
      cri::AttachRequest request;
      fill(&request);
      const auto answer = cri_->Call(&CriClient::Runtime::Attach, request);
      if (!answer.ok()) return answer.status();
      return answer->url();
    }
    // What a command leaves behind when it ends by itself goes on; so those that leave something don't.
    static constexpr const char* kScripts[] = {
        "cat",
        "echo out; echo err >&2; exit 3",
        "yes",
        "sleep 6691 & (setsid sleep 6692 &); cat; exec sleep 6695",
        "exec sleep 6693",
        "head -c 2000000 /dev/zero; cat",
        "exec >&- 2>&-; sleep 6694",
    };
    cri::ExecRequest request;
    fill(&request);
    request.add_cmd("sh");
    request.add_cmd("-c");
    request.add_cmd(kScripts[Below(std::size(kScripts))]);
    const auto answer = cri_->Call(&CriClient::Runtime::Exec, request);
    if (!answer.ok()) return answer.status();
    return answer->url();
  }

  absl::StatusOr<std::string> ForwardUrl() {
    cri::PortForwardRequest request;
    request.set_pod_sandbox_id(pod_);
    request.add_port(kPort);
    if (Below(3) == 0) request.add_port(kPort + 1);  // where nobody listens
    const auto answer = cri_->Call(&CriClient::Runtime::PortForward, request);
    if (!answer.ok()) return answer.status();
    return answer->url();
  }

  // Half of the ends are a reset of the connection.
  void CutSocket(int socket) {
    if (Below(2) == 0) {
      const linger now{1, 0};
      setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    } else if (Below(3) == 0) {
      shutdown(socket, SHUT_WR);
      absl::SleepFor(Instant());
    }
  }

  // A client that sends more than is taken is not to wait for ever.
  static void SetPatience(int socket) {
    const timeval patience{0, 50000};
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }

  void HalfARequest(const std::string& url) {
    const StreamUrl to = ParseUrl(url);
    const auto socket = ConnectTo(to);
    if (!socket.ok()) return Count("no connection");
    const std::string request = absl::StrCat(
        "POST ", to.path, " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n",
        "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n");
    send(socket->get(), request.data(), Below(request.size()), MSG_NOSIGNAL);
    absl::SleepFor(Instant());
    CutSocket(socket->get());
    Count("half a request");
  }

  void Spdy(const std::string& url, bool forward) {
    SpdyClient::Options options;
    if (Below(3) == 0) options.window = 1 + static_cast<uint32_t>(Below(100000));
    static constexpr const char* kProtocols[] = {"v4.channel.k8s.io", "v3.channel.k8s.io",
                                                 "v2.channel.k8s.io", "channel.k8s.io"};
    options.protocols = {forward ? "portforward.k8s.io" : kProtocols[Below(4)]};
    auto connected = SpdyClient::Connect(url, options);
    if (!connected.ok()) return Count(absl::StrCat("SPDY: ", connected.status().message()));
    SpdyClient& client = **connected;
    SetPatience(client.socket());
    Count(forward ? "forward by SPDY" : "command by SPDY");
    client.CountOnly();
    std::vector<uint32_t> streams;
    if (forward) {
      for (uint64_t i = 0; i <= Below(4) && !CutHere(); ++i) OpenPair(&client, &streams);
    } else {
      OpenCommandStreams(&client, &streams);
    }
    for (uint64_t i = 0; i < Below(4) && !streams.empty(); ++i) {
      client.Send(streams[Below(streams.size())], Bytes(), Below(3) == 0);
      if (Below(6) == 0) client.Reset(streams[Below(streams.size())]);
      if (Below(8) == 0) client.SendFrame(SpdyWriter::Ping(1));
      client.ReadUntil([] { return false; }, Instant());
      if (CutHere()) break;
    }
    if (Below(4) == 0) client.ReadUntil([&] { return client.closed(); }, Instant() * 4);
    CutSocket(client.socket());
  }

  void OpenCommandStreams(SpdyClient* client, std::vector<uint32_t>* streams) {
    const auto open = [&](bool wanted, const char* type) {
      if (wanted && !CutHere()) streams->push_back(client->OpenTyped(type));
    };
    open(true, "error");
    open(out_, "stdout");
    open(err_, "stderr");
    open(tty_, "resize");
    open(in_, "stdin");
  }

  void OpenPair(SpdyClient* client, std::vector<uint32_t>* streams) {
    const int port = Below(5) == 0 ? kPort + 1 : kPort;
    const SpdyHeaders headers = {{"port", absl::StrCat(port)},
                                 {"requestid", absl::StrCat(++request_)}};
    SpdyHeaders error = headers, data = headers;
    error.emplace_back("streamtype", "error");
    data.emplace_back("streamtype", "data");
    if (Below(8) != 0) client->Open(error, true);
    if (Below(8) != 0) streams->push_back(client->Open(data));
  }

  void Channels(const std::string& url, bool forward) {
    static constexpr const char* kProtocols[] = {"v4.channel.k8s.io", "v4.base64.channel.k8s.io",
                                                 "v5.channel.k8s.io", "channel.k8s.io"};
    const size_t choice = Below(forward ? 2 : 4);
    auto connected = WebSocketClient::Connect(url, kProtocols[choice]);
    if (!connected.ok()) return Count(absl::StrCat("WebSocket: ", connected.status().message()));
    WebSocketClient& client = **connected;
    client.SetPatience(absl::Milliseconds(50));
    Count(forward ? "forward by WebSocket" : "command by WebSocket");
    for (uint64_t i = 0; i < Below(5) && !CutHere(); ++i) {
      const bool base64 = choice == 1;
      // Some of it makes no sense.
      const char channel = static_cast<char>(Below(6));
      const absl::Status sent =
          base64 ? client.Send(absl::StrCat(static_cast<int>(channel), "YWJjCg=="), true)
                 : client.Send(std::string(1, channel) + Bytes());
      if (!sent.ok()) break;
      if (choice == 2 && Below(4) == 0) client.Send(std::string("\xff\0", 2)).IgnoreError();
      absl::SleepFor(Instant());
    }
    if (Below(3) == 0) client.Receive().status().IgnoreError();
    CutSocket(client.socket());
  }

  void Tunnel(const std::string& url) {
    auto connected = WebSocketClient::Connect(url, "SPDY/3.1+portforward.k8s.io");
    if (!connected.ok()) return Count(absl::StrCat("tunnel: ", connected.status().message()));
    WebSocketClient& client = **connected;
    client.SetPatience(absl::Milliseconds(50));
    Count("forward by tunnel");
    SpdyWriter writer;
    const SpdyHeaders error = {
        {"streamtype", "error"}, {"port", absl::StrCat(kPort)}, {"requestid", "0"}};
    const SpdyHeaders data = {
        {"streamtype", "data"}, {"port", absl::StrCat(kPort)}, {"requestid", "0"}};
    std::string frames =
        absl::StrCat(writer.SynStream(1, true, error), writer.SynStream(3, false, data));
    const std::string bytes = Bytes();
    absl::StrAppend(&frames, SpdyWriter::DataHead(3, bytes.size(), Below(2) == 0), bytes);
    // Cut anywhere.
    if (Below(2) == 0) frames.resize(Below(frames.size()));
    if (client.Send(frames).ok() && Below(2) == 0) client.Receive().status().IgnoreError();
    CutSocket(client.socket());
  }

  void Count(const std::string& what) { ++counts_[what.substr(0, what.find('\r'))]; }

  CriClient* const cri_;
  const std::string pod_, sleeper_, listener_;
  std::mt19937_64 random_;
  bool in_ = false, out_ = false, err_ = false, tty_ = false;
  int request_ = 0;
  std::map<std::string, int> counts_;
};

class StreamSoakTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(pod_, RunPod("pod"));
    // Reaps what the ends of execs leave to it.
    ASSERT_OK_AND_ASSIGN(
        sleeper_,
        CreateAndStart(pod_,
                       ContainerConfig("sleeper", {"sh", "-c", "while :; do sleep 0.05; done"})));
    // Speaks all the time, and hears.
    cri::ContainerConfig config =
        ContainerConfig("listener", {"sh", "-c",
                                     "(while :; do echo tick; sleep 0.02; done) & "
                                     "while :; do read -r l || sleep 1; done"});
    config.set_stdin(true);
    ASSERT_OK_AND_ASSIGN(listener_, CreateAndStart(pod_, config));
    ASSERT_OK_AND_ASSIGN(
        server_,
        CreateAndStart(pod_, ContainerConfig(
                                 "server", {"nc", "-ll", "-p", absl::StrCat(kPort), "-e", "cat"})));
  }

  void RunClients(uint64_t seed, absl::Duration duration) {
    const absl::Time end = absl::Now() + duration;
    std::vector<std::unique_ptr<Client>> clients;
    std::vector<std::thread> threads;
    for (int i = 0; i < kClients; ++i) {
      clients.push_back(std::make_unique<Client>(&cri(), pod_.id, sleeper_, listener_,
                                                 seed + static_cast<uint64_t>(i)));
      threads.emplace_back([client = clients.back().get(), end] { client->RunUntil(end); });
    }
    for (std::thread& thread : threads) thread.join();
    std::map<std::string, int> counts;
    for (const auto& client : clients) {
      for (const auto& [what, count] : client->counts()) counts[what] += count;
    }
    for (const auto& [what, count] : counts) std::cout << "  " << count << " " << what << "\n";
  }

  int64_t AnonymousKib() {
    int64_t kib = 0;
    EXPECT_TRUE(absl::SimpleAtoi(
        Shell(absl::StrCat("awk '/^RssAnon/ { print $2 }' /proc/", daemon_.pid(), "/status")),
        &kib));
    return kib;
  }

  // The keeper keeps what the next exec of a container needs again, the server its last connection.
  void UseOnce() {
    for (const std::string& id : {sleeper_, listener_, server_})
      EXPECT_EQ(Exec(id, "echo 1"), "1\n");
    for (int i = 0; i < 500; ++i) {
      const auto socket = ConnectTo({"127.0.0.1", kPort, "/"});
      char byte = 'x';
      if (socket.ok() && send(socket->get(), &byte, 1, MSG_NOSIGNAL) == 1 &&
          recv(socket->get(), &byte, 1, 0) == 1)
        return;
      absl::SleepFor(absl::Milliseconds(10));
    }
    ADD_FAILURE() << "nobody listens in the pod";
  }

  TestPod pod_;
  std::string sleeper_, listener_, server_;
};

// The fewest of each that a while shows: a moment's look would allow for what is on its way out.
AllHoldings Settled() {
  AllHoldings settled = LookAtProcesses();
  for (int same = 0; same < 40; ++same) {
    absl::SleepFor(absl::Milliseconds(25));
    const AllHoldings now = LookAtProcesses();
    for (auto it = settled.begin(); it != settled.end();) {
      const auto found = now.find(it->first);
      if (found == now.end()) {
        it = settled.erase(it);
        continue;
      }
      if (found->second.files < it->second.files || found->second.threads < it->second.threads)
        same = 0;
      it->second.files = std::min(it->second.files, found->second.files);
      it->second.threads = std::min(it->second.threads, found->second.threads);
      ++it;
    }
  }
  return settled;
}

TEST_F(StreamSoakTest, ClientsThatAreCutOffLeaveNothing) {
  const uint64_t seed =
      FromEnvironment("BERTH_SOAK_SEED", static_cast<uint64_t>(absl::ToUnixSeconds(absl::Now())));
  const absl::Duration duration = absl::Seconds(FromEnvironment("BERTH_SOAK_SECONDS", 6));
  std::cout << "BERTH_SOAK_SEED=" << seed << "\n";
  UseOnce();
  const AllHoldings before = Settled();
  RunClients(seed + 1000000, std::min(duration / 4, absl::Seconds(20)));
  const int64_t memory = AnonymousKib();
  RunClients(seed, duration);
  ASSERT_TRUE(daemon_.running());
  // `sleep` of the containers comes and goes.
  std::vector<std::string> more;
  for (int i = 0; i < 1200; ++i) {
    more = More(before, LookAtProcesses());
    more.erase(std::remove_if(more.begin(), more.end(),
                              [](const std::string& line) {
                                return absl::StartsWith(line, "sleep (") &&
                                       absl::StrContains(line, "were 0, 0");
                              }),
               more.end());
    if (more.empty()) break;
    absl::SleepFor(absl::Milliseconds(25));
  }
  EXPECT_THAT(more, ::testing::IsEmpty()) << Shell("ps -eo pid,ppid,stat,args");
  EXPECT_EQ(Shell("ps -eo pid,ppid,sid,tty,stat,args | grep ' sleep 669' | grep -v grep || true"),
            "");
  EXPECT_EQ(Exec(sleeper_, "echo alive"), "alive\n");
  for (const std::string& id : {sleeper_, listener_, server_}) {
    ASSERT_OK_AND_ASSIGN(const auto status, cri().ContainerStatus(id));
    EXPECT_EQ(status.state(), cri::CONTAINER_RUNNING) << id;
  }
  if (getenv("BERTH_STRESS_SANITIZED") == nullptr) {
    // Roughly: what the allocator keeps varies.
    EXPECT_LT(AnonymousKib(), memory + 8 * 1024);
  }
}

}  // namespace
}  // namespace berth::testing
