// Networks of CNI 1.1.0, by plugins built from their Go module: what Debian's can't show.
#include <signal.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"
#include "tests/network/built_plugins.h"

namespace berth::testing {
namespace {

constexpr char kList[] = R"({"cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"],
  "name": "berth-test-a", "plugins": [PLUGINS]})";
constexpr char kBridge[] = R"({"type": "bridge", "bridge": "bt-a", "isGateway": true,
  "ipMasq": true, "hairpinMode": true, "ipam": {"type": "host-local", "dataDir": "DATA/ipam",
    "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}})";
constexpr char kPortmap[] = R"({"type": "portmap", "capabilities": {"portMappings": true}})";
// Passes the previous result on.
constexpr char kPassOn[] =
    "input=$(cat); [ $CNI_COMMAND = ADD ] && echo \"$input\" | jq .prevResult\n"
    "exit 0\n";

class CniTest : public DaemonTest {
 protected:
  explicit CniTest(const std::string& config = "")
      : DaemonTest({.config = config, .cni_plugins = BuiltCniPlugins().value_or("/nowhere")}) {}

  void SetUp() override {
    ASSERT_OK(BuiltCniPlugins());
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    Configure({kBridge, kPortmap});
    WaitForNetwork(true);
  }

  void Configure(const std::vector<std::string>& plugins) {
    std::string joined;
    for (const std::string& plugin : plugins) {
      absl::StrAppend(&joined, joined.empty() ? "" : ",\n", plugin);
    }
    const std::string text = absl::StrReplaceAll(kList, {{"PLUGINS", joined}});
    ASSERT_OK(WriteFileAtomically(daemon_.cni_conf_dir() + "/10-test.conflist",
                                  absl::StrReplaceAll(text, {{"DATA", daemon_.directory()}}),
                                  0644));
  }
  void Script(const std::string& name, const std::string& text) {
    ASSERT_OK(WriteFileAtomically(daemon_.plugin_dir() + "/" + name,
                                  absl::StrCat("#!/bin/sh\nhere=", daemon_.directory(), "\n", text),
                                  0755));
  }

  // The message of NetworkReady once it is as wanted.
  std::string WaitForNetwork(bool ready) {
    for (const absl::Time end = absl::Now() + absl::Seconds(30); absl::Now() < end;) {
      auto answer = cri().Call(&CriClient::Runtime::Status, cri::StatusRequest());
      EXPECT_OK(answer);
      if (!answer.ok()) return "";
      for (const auto& condition : answer->status().conditions()) {
        if (condition.type() == "NetworkReady" && condition.status() == ready) {
          return condition.message();
        }
      }
      absl::SleepFor(absl::Milliseconds(20));
    }
    ADD_FAILURE() << "NetworkReady never became " << ready;
    return "";
  }

  cri::PodSandboxConfig NetworkPod(const std::string& name, uint32_t attempt = 0) {
    cri::PodSandboxConfig config = Pod(name);
    config.mutable_metadata()->set_attempt(attempt);
    config.set_log_directory(absl::StrCat(daemon_.pod_logs(), "/", name));
    return config;
  }
  static void Map(cri::PodSandboxConfig* config, cri::Protocol protocol, int host, int container,
                  const std::string& ip = "") {
    cri::PortMapping* mapping = config->add_port_mappings();
    mapping->set_protocol(protocol);
    mapping->set_host_port(host);
    mapping->set_container_port(container);
    mapping->set_host_ip(ip);
  }

  cri::PodSandboxNetworkStatus NetworkOf(const std::string& pod) {
    auto answer = cri().PodStatus(pod);
    EXPECT_OK(answer);
    return answer.ok() ? answer->status().network() : cri::PodSandboxNetworkStatus();
  }
  std::string NetnsOf(const std::string& pod) {
    auto answer = cri().PodStatus(pod, /*verbose=*/true);
    EXPECT_OK(answer);
    if (!answer.ok()) return "";
    return nlohmann::json::parse(answer->info().at("info"), nullptr, false)
        .value("netNamespace", "");
  }

  // Addresses that host-local has given out, of all networks.
  std::string Leases() {
    return Shell(
        "cd " + daemon_.directory() +
        "/ipam 2>/dev/null && find . -type f ! -name lock ! -name 'last_reserved*' || true");
  }
  void ExpectNoLease() {
    EXPECT_EQ(Leases(), "");
    EXPECT_EQ(Shell("ip -o link show type veth"), "");
  }
  void WaitForNoLease() {
    for (const absl::Time end = absl::Now() + absl::Seconds(30); absl::Now() < end;) {
      if (Leases().empty() && Shell("ls /run/netns").empty()) return;
      absl::SleepFor(absl::Milliseconds(50));
    }
    ADD_FAILURE() << "still there: " << Leases() << Shell("ls /run/netns");
  }
};

TEST_F(CniTest, APodHasAddressesOfBothFamilies) {
  ASSERT_OK_AND_ASSIGN(const TestPod a, RunPod(NetworkPod("a")));
  ASSERT_OK_AND_ASSIGN(const TestPod b, RunPod(NetworkPod("b")));
  const auto network = NetworkOf(b.id);
  EXPECT_TRUE(absl::StartsWith(network.ip(), "10.77.0.")) << network.ShortDebugString();
  ASSERT_EQ(network.additional_ips_size(), 1);
  EXPECT_TRUE(absl::StartsWith(network.additional_ips(0).ip(), "fd00:77::"));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(a));
  Exec(container, "ping -c 1 -W 5 " + network.ip());
  Exec(container, "for i in 1 2 3 4 5 6 7 8; do ping6 -c 1 -W 1 " + network.additional_ips(0).ip() +
                      " && exit 0; sleep 0.3; done; exit 1");
  Restart();
  EXPECT_EQ(NetworkOf(b.id).SerializeAsString(), network.SerializeAsString());
  // Both versions were offered; the plugins speak the newer.
  ASSERT_OK_AND_ASSIGN(const auto status, cri().PodStatus(b.id, true));
  EXPECT_TRUE(absl::StrContains(status.info().at("info"), "\"cniVersion\":\"1.1.0\""));
  for (const TestPod& pod : {a, b}) ASSERT_OK(cri().StopPod(pod.id));
  ExpectNoLease();
}

TEST_F(CniTest, AnotherAttemptGetsAnAddressOfItsOwn) {
  ASSERT_OK_AND_ASSIGN(const TestPod first, RunPod(NetworkPod("again")));
  const std::string ip = NetworkOf(first.id).ip();
  ASSERT_OK(cri().StopPod(first.id));
  EXPECT_EQ(NetworkOf(first.id).ip(), "");  // given back
  ASSERT_OK_AND_ASSIGN(const TestPod second, RunPod(NetworkPod("again", 1)));
  EXPECT_NE(NetworkOf(second.id).ip(), "");
  ASSERT_OK(cri().RemovePod(first.id));
  EXPECT_TRUE(absl::StrContains(Leases(), NetworkOf(second.id).ip())) << Leases();
  ASSERT_OK(cri().RemovePod(second.id));
  ExpectNoLease();
}

// Sends a datagram and prints the answer; again until the other side listens.
std::string AskUdp(const std::string& before, const std::string& ip, int port) {
  return Shell(absl::StrCat(before,
                            " python3 -c 'import socket\n"
                            "for i in range(50):\n"
                            "  s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                            "  s.settimeout(0.2)\n"
                            "  try:\n"
                            "    s.sendto(b\"x\", (\"",
                            ip, "\", ", port,
                            "))\n"
                            "    print(s.recv(99).decode()); break\n"
                            "  except OSError: pass'"));
}
std::string AskTcp(const std::string& before, const std::string& address) {
  return Shell(before + " curl -s --noproxy '*' --max-time 10 http://" + address + "/ || true");
}

TEST_F(CniTest, HostPortsAnswerOnEveryAddressOrOnTheOneThatWasAskedFor) {
  // A neighbour of the node.
  Shell(
      "ip netns add neighbour && ip link add node0 type veth peer name eth0 netns neighbour && "
      "ip addr add 192.0.2.1/24 dev node0 && ip link set node0 up && "
      "ip -n neighbour addr add 192.0.2.2/24 dev eth0 && ip -n neighbour link set eth0 up && "
      "ip -n neighbour route add default via 192.0.2.1");
  cri::PodSandboxConfig config = NetworkPod("ports");
  Map(&config, cri::TCP, 18080, 80);
  Map(&config, cri::TCP, 18090, 80, "192.0.2.1");
  Map(&config, cri::UDP, 18053, 53);
  Map(&config, cri::SCTP, 18077, 77);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK(CreateAndStart(pod, ContainerConfig("c", {"sh", "-c",
                                                      "mkdir /www; echo mapped > /www/index.html; "
                                                      "exec httpd -f -p 80 -h /www"})));
  ASSERT_OK_AND_ASSIGN(auto udp,
                       Program::Start({"nsenter", "--net=" + NetnsOf(pod.id), "python3", "-c",
                                       "import socket\n"
                                       "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                       "s.bind((\"\", 53))\n"
                                       "while True:\n"
                                       "  data, peer = s.recvfrom(99)\n"
                                       "  s.sendto(b\"datagram\", peer)\n"},
                                      daemon_.directory() + "/udp.log"));
  EXPECT_EQ(Shell("curl -s --noproxy '*' --retry 20 --retry-connrefused --retry-delay 1 "
                  "http://127.0.0.1:18080/"),
            "mapped\n");
  const std::string neighbour = "ip netns exec neighbour";
  EXPECT_EQ(AskTcp("", "192.0.2.1:18080"), "mapped\n");
  EXPECT_EQ(AskTcp("", "10.77.0.1:18080"), "mapped\n");
  EXPECT_EQ(AskTcp(neighbour, "192.0.2.1:18080"), "mapped\n");
  EXPECT_EQ(AskTcp(neighbour, "192.0.2.1:18090"), "mapped\n");
  EXPECT_EQ(AskTcp("", "127.0.0.1:18090"), "");
  EXPECT_EQ(AskTcp("", "10.77.0.1:18090"), "");
  EXPECT_EQ(AskUdp("", "127.0.0.1", 18053), "datagram\n");
  EXPECT_EQ(AskUdp(neighbour, "192.0.2.1", 18053), "datagram\n");
  // This kernel may have no SCTP to connect with.
  EXPECT_NE(Shell("iptables -t nat -S | grep -e '-p sctp' | grep 18077 || true"), "");
  udp.reset();
  ASSERT_OK(cri().StopPod(pod.id));
  EXPECT_EQ(Shell("iptables -t nat -S | grep -e CNI-DN -e 180 || true"), "");
  Shell("ip netns del neighbour; ip link del node0 2>/dev/null; true");
}

TEST_F(CniTest, BandwidthAnnotationsShapeThePod) {
  Configure({kBridge, R"({"type": "bandwidth", "capabilities": {"bandwidth": true}})"});
  WaitForNetwork(true);
  cri::PodSandboxConfig config = NetworkPod("slow");
  (*config.mutable_annotations())["kubernetes.io/ingress-bandwidth"] = "10M";
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  const std::string shaping = Shell("tc qdisc show");
  EXPECT_TRUE(absl::StrContains(shaping, "tbf") && absl::StrContains(shaping, "rate 10Mbit"))
      << shaping;
  ASSERT_OK(cri().RemovePod(pod.id));
  (*config.mutable_annotations())["kubernetes.io/ingress-bandwidth"] = "much";
  const absl::Status status = RunPod(config).status();
  EXPECT_TRUE(HasCode(absl::StatusCode::kInvalidArgument, status));
  EXPECT_TRUE(absl::StrContains(status.message(), "kubernetes.io/ingress-bandwidth")) << status;
  ExpectNoLease();
}

TEST_F(CniTest, StatusOfAPluginDecidesWhetherTheNetworkIsReady) {
  Script("agent",
         absl::StrCat("[ $CNI_COMMAND = STATUS ] && [ -e $here/down ] && { echo "
                      "'{\"cniVersion\": \"1.1.0\", \"code\": 50, \"msg\": \"no agent\"}'; "
                      "exit 1; }\n[ $CNI_COMMAND = VERSION ] && { echo "
                      "'{\"supportedVersions\": [\"1.1.0\"]}'; exit 0; }\n",
                      kPassOn));
  Shell("touch " + daemon_.directory() + "/down");
  Configure({kBridge, R"({"type": "agent"})"});
  EXPECT_TRUE(absl::StrContains(WaitForNetwork(false),
                                "agent (network berth-test-a, STATUS): no "
                                "agent (code 50)"));
  Shell("rm " + daemon_.directory() + "/down");
  WaitForNetwork(true);
  EXPECT_OK(RunPod(NetworkPod("p")));
}

TEST_F(CniTest, ABrokenFirstConfigurationIsToldAndNotReplaced) {
  const std::string broken = daemon_.cni_conf_dir() + "/00-broken.conf";
  ASSERT_OK(WriteFileAtomically(broken, "{", 0644));
  EXPECT_TRUE(absl::StrContains(WaitForNetwork(false), "00-broken.conf: not valid JSON"));
  EXPECT_TRUE(absl::StrContains(RunPod(NetworkPod("p")).status().message(), "00-broken.conf"));
  Shell("rm " + broken);
  WaitForNetwork(true);
  EXPECT_OK(RunPod(NetworkPod("p")));
}

TEST_F(CniTest, APluginThatCallsOthersAttachesThePodToSeveralNetworks) {
  Configure(
      {absl::StrCat(R"({"type": "delegate", "delegates": [)", kBridge,
                    R"(, {"type": "ptp", "ipam": {"type": "host-local", "dataDir": "DATA/ipam",
                               "subnet": "10.78.0.0/24"}}]})"),
       kPortmap});
  WaitForNetwork(true);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(NetworkPod("two-networks")));
  const auto network = NetworkOf(pod.id);
  EXPECT_TRUE(absl::StartsWith(network.ip(), "10.77.0.")) << network.ShortDebugString();
  EXPECT_EQ(network.additional_ips_size(), 1);  // net1's is not the pod's
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  EXPECT_TRUE(absl::StrContains(Exec(container, "ip addr show net1"), "10.78.0."));
  ASSERT_OK_AND_ASSIGN(const auto status, cri().PodStatus(pod.id, true));
  EXPECT_TRUE(absl::StrContains(status.info().at("info"), "\"net1\""));
  ASSERT_OK(cri().StopPod(pod.id));
  ExpectNoLease();
}

// The reference plugins do not do GC yet: one that tells what it was asked to keep.
class CniGarbageTest : public CniTest {
 protected:
  explicit CniGarbageTest(const std::string& config = "[network]\ngc = true\n") : CniTest(config) {}

  void SetUp() override {
    CniTest::SetUp();
    if (HasFatalFailure()) return;
    Script("collector",
           absl::StrCat("[ $CNI_COMMAND = VERSION ] && { echo '{\"supportedVersions\": "
                        "[\"1.1.0\"]}'; exit 0; }\n[ $CNI_COMMAND = GC ] && { cat > "
                        "$here/kept; exit 0; }\n",
                        kPassOn));
    Configure({kBridge, R"({"type": "collector"})"});
    WaitForNetwork(true);
  }
  // The container IDs of the attachments that the plugin was to keep.
  std::string Kept() {
    return Shell("cd " + daemon_.directory() +
                 " && [ -e kept ] && jq -r '.[\"cni.dev/valid-attachments\"][] | .containerID + "
                 "\" \" + .ifname' kept || true");
  }
};

TEST_F(CniGarbageTest, PluginsAreToldAtTheStartWhatIsInUse) {
  ASSERT_OK_AND_ASSIGN(const TestPod kept, RunPod(NetworkPod("kept")));
  ASSERT_OK_AND_ASSIGN(const TestPod stopped, RunPod(NetworkPod("stopped")));
  ASSERT_OK(cri().StopPod(stopped.id));
  EXPECT_EQ(Kept(), "");
  Restart();
  EXPECT_EQ(Kept(), kept.id + " eth0\n");
  EXPECT_NE(NetworkOf(kept.id).ip(), "");
}

TEST_F(CniGarbageTest, NothingIsCollectedAfterRecordsWereLost) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(NetworkPod("kept")));
  daemon_.Kill();
  Shell("rm -f " + daemon_.root() + "/state.db*");
  ASSERT_OK(daemon_.Start());
  EXPECT_EQ(Kept(), "");
  EXPECT_TRUE(absl::StrContains(daemon_.Log(), "network.gc: left out"));
}

class CniNoGarbageTest : public CniGarbageTest {
 protected:
  CniNoGarbageTest() : CniGarbageTest("") {}
};

TEST_F(CniNoGarbageTest, NothingIsCollectedUnasked) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(NetworkPod("kept")));
  Restart();
  EXPECT_EQ(Shell("ls " + daemon_.directory() + "/kept 2>/dev/null || true"), "");
}

class CniHungTest : public CniTest {
 protected:
  CniHungTest() : CniTest("[network]\nplugin_timeout = \"2s\"\n") {}
};

TEST_F(CniHungTest, APluginThatHangsKeepsNobodyWaitingAndNothingForGood) {
  Script("tar", absl::StrCat("[ $CNI_COMMAND = VERSION ] && { echo '{\"supportedVersions\": "
                             "[\"1.1.0\"]}'; exit 0; }\n[ $CNI_COMMAND = STATUS ] && exit 0\n"
                             "[ -e $here/dry ] || exec sleep 1000\n",
                             kPassOn));
  Configure({kBridge, R"({"type": "tar"})"});
  WaitForNetwork(true);
  const absl::Time start = absl::Now();
  const absl::Status status = RunPod(NetworkPod("stuck")).status();
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
  EXPECT_TRUE(HasCode(absl::StatusCode::kDeadlineExceeded, status));
  EXPECT_TRUE(absl::StrContains(status.message(), "cni plugin tar")) << status;
  // What bridge gave is back, though the plugin after it hung both ways.
  EXPECT_EQ(Leases(), "");
  ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
  EXPECT_TRUE(pods.empty());
  // The name is free, and a start does not wait for long either.
  EXPECT_TRUE(HasCode(absl::StatusCode::kDeadlineExceeded, RunPod(NetworkPod("stuck"))));
  Restart();
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_LT(absl::Now() - start, absl::Seconds(50));
  Shell("touch " + daemon_.directory() + "/dry");
  WaitForNoLease();
  EXPECT_OK(RunPod(NetworkPod("stuck")));
}

TEST_F(CniHungTest, AStopTellsWhichPluginHangsAndSucceedsLater) {
  Script("tar", absl::StrCat("[ $CNI_COMMAND = VERSION ] && { echo '{\"supportedVersions\": "
                             "[\"1.1.0\"]}'; exit 0; }\n"
                             "[ $CNI_COMMAND = DEL ] && [ ! -e $here/dry ] && exec sleep 1000\n",
                             kPassOn));
  Configure({kBridge, R"({"type": "tar"})"});
  WaitForNetwork(true);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(NetworkPod("stuck")));
  const absl::Time start = absl::Now();
  const absl::Status status = cri().StopPod(pod.id);
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
  EXPECT_TRUE(HasCode(absl::StatusCode::kDeadlineExceeded, status));
  EXPECT_TRUE(absl::StrContains(status.message(), "cni plugin tar")) << status;
  Shell("touch " + daemon_.directory() + "/dry");
  ASSERT_OK(cri().StopPod(pod.id));
  ExpectNoLease();
}

TEST_F(CniTest, APluginThatOutlivesTheDaemonAttachesNothing) {
  Script("slow",
         "input=$(cat)\n"
         "[ $CNI_COMMAND = ADD ] && { touch $here/adding; sleep 0.4; }\n"
         "echo \"$input\" | exec $(echo $CNI_PATH | cut -d : -f 1)/bridge\n");
  Configure({absl::StrReplaceAll(kBridge, {{"\"type\": \"bridge\"", "\"type\": \"slow\""}})});
  WaitForNetwork(true);
  std::thread caller([this] {
    CriClient client(daemon_.socket());
    EXPECT_FALSE(client.RunPod(NetworkPod("p")).ok());
  });
  Shell("for i in $(seq 1000); do [ -e " + daemon_.directory() +
        "/adding ] && exit 0; sleep 0.02; done; exit 1");
  daemon_.Kill();
  caller.join();
  ASSERT_OK(daemon_.Start());
  ExpectNoLease();
  EXPECT_EQ(Shell("pgrep -f '[/]slow' || true"), "");
  EXPECT_OK(RunPod(NetworkPod("p")));
}

}  // namespace
}  // namespace berth::testing
