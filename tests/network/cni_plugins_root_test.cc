// Pod networks with Debian's CNI plugins in a sandbox: real bridges, leases and iptables rules.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/network/cni_network.h"
#include "server/network/netns.h"
#include "tests/network/sandbox.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kConfiguration[] = R"({"cniVersion":"VERSION","name":"podnet","plugins":[
  {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":MASQUERADE,"hairpinMode":true,
   "ipam":{"type":"host-local","dataDir":"LEASES",
           "ranges":[[{"subnet":"10.88.0.0/16"}],[{"subnet":"fd00:88::/64"}]],
           "routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}},
  {"type":"tuning","sysctl":{"net.core.somaxconn":"321"}},
  {"type":"portmap","capabilities":{"portMappings":true}},
  {"type":"firewall","backend":"iptables"}]})";
constexpr char kFirewall[] = R"(,
  {"type":"firewall","backend":"iptables"})";

absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

// A pod with a pinned namespace.
struct TestPod {
  PodId id;
  UniqueFd netns;
  std::string path;
  Attachment attachment;
  std::vector<std::string> ips;
};

class CniPluginsTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat("/run/test-", RandomHexId().substr(0, 12));
    ASSERT_TRUE(MakeDirectories(root_ + "/net.d", 0755).ok());
    Configure("1.0.0");
    network_ = MakeNetwork();
  }
  void TearDown() override {
    EXPECT_TRUE(RemoveTree(root_).ok());
    EXPECT_THAT(*netns_.List(), IsEmpty());
  }

  // `rules_by_address`: with the parts that find their iptables rules at DEL by the namespace's
  // addresses alone (bridge's ipMasq, firewall; versions 1.1.1), and leave them if it is gone.
  void Configure(const std::string& version, bool rules_by_address = true) {
    std::string text =
        absl::StrReplaceAll(kConfiguration, {{"VERSION", version},
                                             {"LEASES", root_ + "/leases"},
                                             {"MASQUERADE", rules_by_address ? "true" : "false"}});
    // The firewall plugin begins at 0.4.0.
    if (version < "0.4.0" || !rules_by_address) absl::StrReplaceAll({{kFirewall, ""}}, &text);
    ASSERT_TRUE(WriteFileAtomically(root_ + "/net.d/10-podnet.conflist", text, 0644).ok());
  }
  std::unique_ptr<Network> MakeNetwork() {
    return NewCniNetwork(
        {.config_directory = root_ + "/net.d", .plugin_directories = {"/usr/lib/cni"}});
  }
  TestPod NewPod(std::vector<PortMapping> ports = {}) {
    TestPod pod;
    pod.id = NewPodId();
    pod.netns = NewNetns().value();
    pod.path = netns_.Pin(pod.id, pod.netns.get()).value();
    EXPECT_TRUE(BringLoopbackUp(pod.netns.get()).ok());
    AttachRequest request;
    request.pod = pod.id;
    request.pod_namespace = "default";
    request.pod_name = "p";
    request.pod_uid = "u";
    request.netns_path = pod.path;
    request.port_mappings = std::move(ports);
    pod.attachment = network_->Prepare(request).value();
    return pod;
  }
  void Attach(TestPod* pod) {
    absl::StatusOr<NetworkResult> result = network_->Add(&pod->attachment, Soon());
    ASSERT_TRUE(result.ok()) << result.status();
    pod->ips = result->ips;
    ASSERT_THAT(pod->ips, SizeIs(2));
  }
  void Detach(TestPod* pod) {
    const absl::Status status = network_->Remove(pod->attachment, Soon());
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(netns_.Unpin(pod->id).ok());
  }
  // Lets the namespace go, and waits until the kernel has taken its interfaces down.
  void Destroy(TestPod* pod) {
    EXPECT_TRUE(netns_.Unpin(pod->id).ok());
    pod->netns.reset();
    for (int i = 0; i < 500 && !Veths().empty(); ++i) absl::SleepFor(absl::Milliseconds(10));
  }

  std::vector<std::string> Leases() {
    std::vector<std::string> leases =
        ListDirectory(root_ + "/leases/podnet").value_or(std::vector<std::string>());
    std::erase_if(leases, [](const std::string& name) {
      return name == "lock" || absl::StartsWith(name, "last_reserved_ip");
    });
    return leases;
  }
  static std::vector<std::string> Veths() {
    return absl::StrSplit(Output({"ip", "-o", "link", "show", "type", "veth"}).value(), '\n',
                          absl::SkipEmpty());
  }
  // The rules without counters and comments that name times.
  static std::string Rules() {
    std::string rules;
    for (const char* program : {"iptables-save", "ip6tables-save"}) {
      for (absl::string_view line : absl::StrSplit(Output({program}).value(), '\n')) {
        if (!absl::StartsWith(line, "#") && !absl::StartsWith(line, ":")) {
          absl::StrAppend(&rules, line, "\n");
        }
      }
    }
    return rules;
  }
  void ExpectNothingLeftOf(const TestPod& pod, const std::string& rules_before) {
    EXPECT_THAT(Veths(), IsEmpty());
    EXPECT_THAT(Leases(), IsEmpty());
    EXPECT_EQ(Rules(), rules_before);
    for (const std::string& ip : pod.ips) EXPECT_THAT(Rules(), Not(HasSubstr(ip)));
  }
  // The rules that the plugins keep for good (chains of their own) are there after the first pod.
  std::string RulesAfterAFirstPod() {
    TestPod pod = NewPod({{.container_port = 1, .host_port = 9999}});
    Attach(&pod);
    Detach(&pod);
    return Rules();
  }

  std::string root_;
  NetnsDirectory netns_{InstanceId("0123456789abcdef")};
  std::unique_ptr<Network> network_;
};

TEST_F(CniPluginsTest, TwoPodsReachEachOtherAndDelLeavesNothing) {
  const std::string rules = RulesAfterAFirstPod();
  TestPod a = NewPod();
  TestPod b = NewPod();
  Attach(&a);
  Attach(&b);
  EXPECT_THAT(Leases(), SizeIs(4));
  EXPECT_THAT(Veths(), SizeIs(2));
  ASSERT_THAT(a.ips, SizeIs(2));
  EXPECT_THAT(a.ips[0], testing::StartsWith("10.88."));
  EXPECT_THAT(a.ips[1], testing::StartsWith("fd00:88::"));
  for (const std::string& ip : b.ips) {
    const auto ping =
        Output({"nsenter", absl::StrCat("--net=", a.path), "busybox", "ping", "-c1", "-W5", ip});
    EXPECT_TRUE(ping.ok()) << ping.status();
  }
  EXPECT_TRUE(Output({"nsenter", absl::StrCat("--net=", a.path), "busybox", "ping", "-c1", "-W5",
                      "127.0.0.1"})
                  .ok());
  EXPECT_EQ(
      *Output({"nsenter", absl::StrCat("--net=", a.path), "cat", "/proc/sys/net/core/somaxconn"}),
      "321\n");
  Detach(&b);
  EXPECT_THAT(Leases(), SizeIs(2));
  Detach(&a);
  ExpectNothingLeftOf(a, rules);
}

TEST_F(CniPluginsTest, AHostPortAnswersUntilDel) {
  const std::string rules = RulesAfterAFirstPod();
  TestPod pod = NewPod({{.container_port = 80, .host_port = 8080}});
  ASSERT_NO_FATAL_FAILURE(Attach(&pod));
  {
    const TcpAnswer answer(pod.netns.get(), 80, "hello");
    EXPECT_EQ(TcpRead("10.88.0.1", 8080).value_or("nothing"), "hello");
    EXPECT_EQ(TcpRead("127.0.0.1", 8080).value_or("nothing"), "hello");
    EXPECT_EQ(TcpRead(pod.ips[0], 80).value_or("nothing"), "hello");
  }
  Detach(&pod);
  EXPECT_FALSE(TcpRead("127.0.0.1", 8080).ok());
  ExpectNothingLeftOf(pod, rules);
}

TEST_F(CniPluginsTest, EachVersionWorks) {
  for (const char* version : {"0.3.0", "0.3.1", "0.4.0", "1.0.0"}) {
    Configure(version);
    const std::string rules = RulesAfterAFirstPod();
    TestPod pod = NewPod({{.container_port = 80, .host_port = 8080}});
    Attach(&pod);
    EXPECT_THAT(pod.ips, SizeIs(2)) << version;
    Detach(&pod);
    ExpectNothingLeftOf(pod, rules);
  }
}

TEST_F(CniPluginsTest, DelWorksWhenTheNamespaceIsGone) {
  Configure("1.0.0", /*rules_by_address=*/false);
  const std::string rules = RulesAfterAFirstPod();
  TestPod pod = NewPod({{.container_port = 80, .host_port = 8080}});
  ASSERT_NO_FATAL_FAILURE(Attach(&pod));
  EXPECT_THAT(Rules(), HasSubstr(pod.ips[0]));
  Destroy(&pod);
  EXPECT_THAT(Leases(), SizeIs(2));
  EXPECT_TRUE(network_->Remove(pod.attachment, Soon()).ok());
  ExpectNothingLeftOf(pod, rules);
  EXPECT_TRUE(network_->Remove(pod.attachment, Soon()).ok());  // May be repeated.
}

TEST_F(CniPluginsTest, AnIntentTakesDownWhatACrashLeft) {
  std::string rules = RulesAfterAFirstPod();
  // Each plugin in turn is the one before which, or the last after which, the daemon dies.
  for (const char* where : {"bridge", "tuning", "portmap", "firewall", "after"}) {
    for (const bool namespace_lives : {true, false}) {
      Configure("1.0.0", /*rules_by_address=*/namespace_lives);
      TestPod pod = NewPod({{.container_port = 80, .host_port = 8080}});
      const std::string record = pod.attachment.ToJson();
      const pid_t child = fork();
      if (child == 0) {
        (void)ArmFailpoints(absl::StrCat("network.cni.add.", where, "=crash"));
        (void)network_->Add(&pod.attachment, Soon());
        (void)!kill(getpid(), SIGKILL);
      }
      int status = 0;
      waitpid(child, &status, 0);
      EXPECT_TRUE(WIFSIGNALED(status));
      EXPECT_THAT(Leases(), SizeIs(absl::string_view(where) == "bridge" ? 0 : 2));
      EXPECT_THAT(*netns_.List(), SizeIs(1));  // The sweep finds the namespace by its name.
      if (!namespace_lives) Destroy(&pod);
      const Attachment intent = Attachment::FromJson(record).value();
      const absl::Status removed = MakeNetwork()->Remove(intent, Soon());
      EXPECT_TRUE(removed.ok()) << where << ": " << removed;
      EXPECT_TRUE(netns_.Unpin(pod.id).ok());
      ExpectNothingLeftOf(pod, rules);
    }
  }
}

TEST_F(CniPluginsTest, AFailingLastPluginLeavesNothing) {
  const std::string rules = RulesAfterAFirstPod();
  ASSERT_TRUE(ArmFailpoints("network.cni.add.firewall=error").ok());
  TestPod pod = NewPod({{.container_port = 80, .host_port = 8080}});
  EXPECT_EQ(network_->Add(&pod.attachment, Soon()).status().message(),
            "failpoint network.cni.add.firewall");
  ASSERT_TRUE(ArmFailpoints("").ok());
  ExpectNothingLeftOf(pod, rules);
  EXPECT_TRUE(netns_.Unpin(pod.id).ok());
}

TEST_F(CniPluginsTest, AnErrorOfARealPluginIsTold) {
  ASSERT_TRUE(WriteFileAtomically(root_ + "/net.d/00.conf",
                                  R"({"cniVersion":"1.0.0","name":"bad","type":"bridge",
                                      "ipam":{"type":"host-local","subnet":"10.0.0.0/99"}})",
                                  0644)
                  .ok());
  TestPod pod = NewPod();
  const absl::Status status = network_->Add(&pod.attachment, Soon()).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("cni plugin bridge (network bad, ADD): "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("10.0.0.0/99"));
  EXPECT_TRUE(netns_.Unpin(pod.id).ok());
}

TEST_F(CniPluginsTest, ManyPodsAtOnceGetDistinctAddresses) {
  const std::string rules = RulesAfterAFirstPod();
  constexpr int kPods = 8;
  std::vector<TestPod> pods;
  for (int i = 0; i < kPods; ++i) pods.push_back(NewPod());
  std::vector<std::thread> threads;
  for (TestPod& pod : pods) threads.emplace_back([this, &pod] { Attach(&pod); });
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> ips;
  for (const TestPod& pod : pods) ips.insert(pod.ips.begin(), pod.ips.end());
  EXPECT_THAT(ips, SizeIs(2 * kPods));
  threads.clear();
  for (TestPod& pod : pods) threads.emplace_back([this, &pod] { Detach(&pod); });
  for (std::thread& thread : threads) thread.join();
  ExpectNothingLeftOf(pods[0], rules);
}

TEST_F(CniPluginsTest, PinsAreListedReplacedAndRemoved) {
  const PodId pod(std::string(64, 'b'));
  const NetnsDirectory other(InstanceId("fedcba9876543210"));
  EXPECT_TRUE(absl::IsInvalidArgument(
      netns_.Pin(pod, UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)).get()).status()));
  const UniqueFd first = NewNetns().value();
  const UniqueFd second = NewNetns().value();
  ASSERT_EQ(netns_.Pin(pod, first.get()).value(),
            "/run/netns/berth-0123456789abcdef-bbbbbbbbbbbbbbbb");
  ASSERT_TRUE(netns_.Pin(pod, second.get()).ok());
  EXPECT_TRUE(IsNetns(netns_.PathOf(pod)));
  EXPECT_THAT(*netns_.List(), ElementsAre("berth-0123456789abcdef-bbbbbbbbbbbbbbbb"));
  EXPECT_THAT(*other.List(), IsEmpty());
  EXPECT_THAT(*Output({"ip", "netns", "list"}),
              HasSubstr("berth-0123456789abcdef-bbbbbbbbbbbbbbbb"));
  EXPECT_FALSE(netns_.UnpinName("berth-fedcba9876543210-bbbbbbbbbbbbbbbb").ok());
  EXPECT_FALSE(netns_.UnpinName("berth-0123456789abcdef-/../x").ok());
  EXPECT_TRUE(netns_.UnpinName("berth-0123456789abcdef-bbbbbbbbbbbbbbbb").ok());
  EXPECT_TRUE(netns_.Unpin(pod).ok());
  EXPECT_FALSE(IsNetns(netns_.PathOf(pod)));
  // An empty file, as a crash between creation and mount leaves it.
  ASSERT_TRUE(WriteFileAtomically(netns_.PathOf(pod), "", 0).ok());
  EXPECT_FALSE(IsNetns(netns_.PathOf(pod)));
  EXPECT_THAT(*netns_.List(), SizeIs(1));
  ASSERT_TRUE(netns_.Pin(pod, first.get()).ok());
  EXPECT_TRUE(netns_.Unpin(pod).ok());
  // Mounted once only: nothing of it stays in the mount table.
  EXPECT_THAT(*ReadFile("/proc/self/mountinfo"), Not(HasSubstr("berth-0123456789abcdef")));
}

}  // namespace
}  // namespace berth

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (const absl::Status status = berth::EnterSandbox(); !status.ok()) {
    fprintf(stderr, "sandbox: %s\n", status.ToString().c_str());
    return 1;
  }
  return RUN_ALL_TESTS();
}
