// Pods with a network of their own, by Debian's CNI plugins: bridge, host-local, portmap.
#include <signal.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class PodNetworkTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_OK(daemon_.WriteCniConfig());
    WaitForNetwork();
  }

  void WaitForNetwork() {
    for (const absl::Time end = absl::Now() + absl::Seconds(5); absl::Now() < end;) {
      auto answer = cri().Call(&CriClient::Runtime::Status, cri::StatusRequest());
      ASSERT_OK(answer);
      for (const auto& condition : answer->status().conditions()) {
        if (condition.type() == "NetworkReady" && condition.status()) return;
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
    FAIL() << "NetworkReady never came";
  }

  cri::PodSandboxConfig NetworkPod(const std::string& name) {
    cri::PodSandboxConfig config = Pod(name);
    config.set_log_directory(absl::StrCat(daemon_.pod_logs(), "/", name));
    return config;
  }

  std::string IpOf(const std::string& pod) {
    auto answer = cri().PodStatus(pod);
    EXPECT_OK(answer);
    return answer.ok() ? answer->status().network().ip() : "";
  }

  // Addresses that host-local has given out.
  std::string Leases() {
    return Shell("cd " + daemon_.directory() +
                 "/ipam/berth-test-a 2>/dev/null && ls | grep '^10' || true");
  }
  // Puts a script after bridge in place of portmap; it acts on ADD only.
  void InstallSecondPlugin(const std::string& name, const std::string& on_add) {
    const std::string file = daemon_.cni_conf_dir() + "/10-test.conflist";
    ASSERT_OK(WriteFileAtomically(
        daemon_.plugin_dir() + "/" + name,
        "#!/bin/sh\ncat >/dev/null\n[ \"$CNI_COMMAND\" = ADD ] || exit 0\n" + on_add, 0755));
    ASSERT_OK_AND_ASSIGN(std::string text, ReadFile(file));
    const size_t portmap = text.find("\"portmap\"");
    ASSERT_NE(portmap, std::string::npos);
    text.replace(portmap, 9, "\"" + name + "\"");
    ASSERT_OK(WriteFileAtomically(file, text, 0644));
  }
  // The changed configuration may not have been noticed at once.
  absl::Status RunUntilRefused(const std::string& name) {
    for (const absl::Time end = absl::Now() + absl::Seconds(5); absl::Now() < end;) {
      auto pod = RunPod(NetworkPod(name));
      if (!pod.ok()) return pod.status();
      EXPECT_OK(cri().RemovePod(pod->id));
    }
    return absl::OkStatus();
  }
  std::string PortRules() { return Shell("iptables -t nat -S | grep CNI-DN || true"); }
};

TEST_F(PodNetworkTest, ThePodHasAnAddressThatAnswers) {
  const cri::PodSandboxConfig config = NetworkPod("web");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  const std::string ip = IpOf(pod.id);
  EXPECT_TRUE(absl::StartsWith(ip, "10.77.0.")) << ip;
  ASSERT_OK_AND_ASSIGN(
      const std::string container,
      CreateAndStart(pod, ContainerConfig("c", {"sh", "-c",
                                                "mkdir /www; echo hello > /www/index.html; "
                                                "exec httpd -f -p 80 -h /www"})));
  EXPECT_TRUE(absl::StrContains(Exec(container, "ip addr show eth0"), ip));
  EXPECT_TRUE(absl::StrContains(Exec(container, "ip addr show lo"), "127.0.0.1"));
  EXPECT_EQ(Shell("curl -s --noproxy '*' --retry 20 --retry-connrefused --retry-delay 1 http://" +
                  ip + "/"),
            "hello\n");
  EXPECT_NE(Exec(container, "readlink /proc/self/ns/net"), Shell("readlink /proc/self/ns/net"));
  EXPECT_EQ(Exec(container, "hostname"), "web\n");
  EXPECT_EQ(Exec(container, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0\n");

  ASSERT_OK(cri().StopPod(pod.id));
  EXPECT_EQ(Leases(), "");
  ASSERT_OK_AND_ASSIGN(const auto after, cri().PodStatus(pod.id));
  EXPECT_EQ(after.status().state(), cri::SANDBOX_NOTREADY);
}

TEST_F(PodNetworkTest, HostPortsAnswerOnTheHostAndOnLoopback) {
  cri::PodSandboxConfig config = NetworkPod("ports");
  auto* mapping = config.add_port_mappings();
  mapping->set_container_port(80);
  mapping->set_host_port(18080);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK(CreateAndStart(pod, ContainerConfig("c", {"sh", "-c",
                                                      "mkdir /www; echo mapped > /www/index.html; "
                                                      "exec httpd -f -p 80 -h /www"})));
  EXPECT_EQ(Shell("curl -s --noproxy '*' --retry 20 --retry-connrefused --retry-delay 1 "
                  "http://127.0.0.1:18080/"),
            "mapped\n");
  EXPECT_EQ(Shell("curl -s --noproxy '*' http://10.77.0.1:18080/"), "mapped\n");
  EXPECT_NE(PortRules(), "");
  ASSERT_OK(cri().StopPod(pod.id));
  EXPECT_EQ(PortRules(), "");
}

TEST_F(PodNetworkTest, DnsConfigurationBecomesResolvConf) {
  cri::PodSandboxConfig config = NetworkPod("dns");
  config.mutable_dns_config()->add_servers("10.96.0.10");
  config.mutable_dns_config()->add_searches("default.svc.cluster.local");
  config.mutable_dns_config()->add_searches("cluster.local");
  config.mutable_dns_config()->add_options("ndots:5");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  const std::string text = Exec(container, "cat /etc/resolv.conf");
  EXPECT_TRUE(absl::StrContains(text, "nameserver 10.96.0.10")) << text;
  EXPECT_TRUE(absl::StrContains(text, "search default.svc.cluster.local cluster.local")) << text;
  EXPECT_TRUE(absl::StrContains(text, "options ndots:5")) << text;
}

TEST_F(PodNetworkTest, WithoutDnsConfigurationTheNodesFilesAreCopied) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(NetworkPod("copies")));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  EXPECT_EQ(Exec(container, "cat /etc/resolv.conf"), Shell("cat /etc/resolv.conf"));
  EXPECT_EQ(Exec(container, "cat /etc/hosts"), Shell("cat /etc/hosts"));
}

TEST_F(PodNetworkTest, SysctlsOfTheNetworkAreThePodsOwn) {
  cri::PodSandboxConfig config = NetworkPod("tuned");
  auto& sysctls = *config.mutable_linux()->mutable_sysctls();
  sysctls["net.core.somaxconn"] = "777";
  sysctls["net/ipv4/ip_unprivileged_port_start"] = "1000";
  const std::string before = Shell("cat /proc/sys/net/core/somaxconn");
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(pod));
  EXPECT_EQ(Exec(container, "cat /proc/sys/net/core/somaxconn"), "777\n");
  EXPECT_EQ(Exec(container, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "1000\n");
  EXPECT_EQ(Shell("cat /proc/sys/net/core/somaxconn"), before);
  cri::PodSandboxConfig on_the_node = PodConfig("on-the-node");
  (*on_the_node.mutable_linux()->mutable_sysctls())["net.core.somaxconn"] = "777";
  EXPECT_TRUE(HasCode(absl::StatusCode::kInvalidArgument, RunPod(on_the_node)));
}

TEST_F(PodNetworkTest, PodsReachEachOther) {
  ASSERT_OK_AND_ASSIGN(const TestPod a, RunPod(NetworkPod("pod-a")));
  ASSERT_OK_AND_ASSIGN(const TestPod b, RunPod(NetworkPod("pod-b")));
  ASSERT_OK_AND_ASSIGN(const std::string container, Sleeper(a));
  EXPECT_NE(IpOf(a.id), IpOf(b.id));
  Exec(container, "ping -c 1 -W 5 " + IpOf(b.id));
}

TEST_F(PodNetworkTest, AddressSurvivesAKillAndIsGivenBackAtStop) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(NetworkPod("kept")));
  const std::string ip = IpOf(pod.id);
  Restart();
  EXPECT_EQ(IpOf(pod.id), ip);
  ASSERT_OK_AND_ASSIGN(const auto answer, cri().PodStatus(pod.id));
  EXPECT_EQ(answer.status().linux().namespaces().options().network(), cri::POD);
  ASSERT_OK(cri().StopPod(pod.id));
  EXPECT_EQ(Leases(), "");
}

TEST_F(PodNetworkTest, StopWorksWithoutTheConfigurationItWasStartedWith) {
  cri::PodSandboxConfig config = NetworkPod("orphaned");
  auto* mapping = config.add_port_mappings();
  mapping->set_container_port(80);
  mapping->set_host_port(18081);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  Shell("rm " + daemon_.cni_conf_dir() + "/*");
  Restart();
  ASSERT_OK(cri().StopPod(pod.id));
  EXPECT_EQ(Leases(), "");
  EXPECT_EQ(PortRules(), "");
}

TEST_F(PodNetworkTest, DelHappensWhenTheKeeperAndItsNamespaceAreGone) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(NetworkPod("lost")));
  ASSERT_NE(Leases(), "");
  for (const pid_t keeper : Keepers()) kill(keeper, SIGKILL);
  Shell("for n in /run/netns/*; do umount $n; rm -f $n; done");
  ASSERT_OK(cri().StopPod(pod.id));
  EXPECT_EQ(Leases(), "");
}

TEST_F(PodNetworkTest, WithoutAConfigurationRunPodSandboxSaysSo) {
  Shell("rm " + daemon_.cni_conf_dir() + "/*");
  absl::Status last;
  for (const absl::Time end = absl::Now() + absl::Seconds(5); absl::Now() < end;) {
    auto pod = RunPod(NetworkPod("early"));
    last = pod.status();
    if (!pod.ok()) break;
    ASSERT_OK(cri().RemovePod(pod->id));
  }
  EXPECT_FALSE(last.ok());
  EXPECT_TRUE(absl::StrContains(last.message(), daemon_.cni_conf_dir())) << last;
  EXPECT_OK(RunPod("on-the-host"));
  // The name is free.
  ASSERT_OK(daemon_.WriteCniConfig());
  WaitForNetwork();
  EXPECT_OK(RunPod(NetworkPod("early")));
}

TEST_F(PodNetworkTest, AFailedAddIsFollowedByDelAndLeavesNothing) {
  // bridge gives out an address, then the second plugin fails.
  InstallSecondPlugin(
      "refuse", "echo '{\"cniVersion\": \"1.0.0\", \"code\": 7, \"msg\": \"not today\"}'; exit 1");
  const absl::Status status = RunUntilRefused("doomed");
  EXPECT_TRUE(absl::StrContains(status.message(), "not today")) << status;
  EXPECT_EQ(Leases(), "");
  ASSERT_OK_AND_ASSIGN(const auto pods, cri().ListPods());
  EXPECT_TRUE(pods.empty());
}

TEST_F(PodNetworkTest, APluginThatSpeaksNonsenseIsRefused) {
  InstallSecondPlugin("babble", "echo 'this is no JSON'; exit 0");
  const absl::Status status = RunUntilRefused("doomed");
  EXPECT_TRUE(absl::StrContains(status.message(), "babble")) << status;
  EXPECT_EQ(Leases(), "");
}

TEST_F(PodNetworkTest, AMissingPluginIsNamedAndARestartCleansUpWhenItIsThere) {
  InstallSecondPlugin("absent", "exit 0");
  Shell("rm " + daemon_.plugin_dir() + "/absent");
  const absl::Status status = RunUntilRefused("doomed");
  EXPECT_TRUE(absl::StrContains(status.message(), "absent")) << status;
  ASSERT_OK(WriteFileAtomically(daemon_.plugin_dir() + "/absent", "#!/bin/sh\n", 0755));
  Restart();
  EXPECT_EQ(Leases(), "");
}

TEST_F(PodNetworkTest, PluginsGetKubernetesArguments) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(NetworkPod("arguments")));
  // host-local writes CNI_CONTAINERID and the interface; the rest is checked by a recording plugin
  // in the unit tests of server/network.
  const std::string lease = Shell("cat " + daemon_.directory() + "/ipam/berth-test-a/10.*");
  EXPECT_TRUE(absl::StrContains(lease, pod.id)) << lease;
  EXPECT_TRUE(absl::StrContains(lease, "eth0")) << lease;
}

}  // namespace
}  // namespace berth::testing
