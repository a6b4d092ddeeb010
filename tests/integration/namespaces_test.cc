// Namespaces of pods and of the node in every combination, sysctls in them, and who reaps.
#include <signal.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tests/harness/daemon_test.h"

namespace berth::testing {
namespace {

class NamespacesTest : public DaemonTest {
 protected:
  static std::string OfHost(const std::string& kind) {
    return Shell("readlink /proc/self/ns/" + kind);
  }
  std::string Of(const std::string& container, const std::string& kind) {
    return Exec(container, "readlink /proc/self/ns/" + kind);
  }
  // A plugin that does nothing and says so: namespaces are what these tests are about.
  void WriteIdleNetwork() {
    ASSERT_OK(WriteFileAtomically(
        daemon_.plugin_dir() + "/nothing",
        "#!/bin/sh\ncat >/dev/null\n"
        "[ \"$CNI_COMMAND\" != VERSION ] || echo '{\"cniVersion\": \"1.0.0\", "
        "\"supportedVersions\": [\"1.0.0\"]}'\n"
        "[ \"$CNI_COMMAND\" = ADD ] || exit 0\n"
        "echo '{\"cniVersion\": \"1.0.0\", \"interfaces\": [{\"name\": \"eth0\", "
        "\"sandbox\": \"x\"}],"
        " \"ips\": [{\"interface\": 0, \"address\": \"192.0.2.1/8\"}]}'\n",
        0755));
    ASSERT_OK(WriteFileAtomically(
        daemon_.cni_conf_dir() + "/10-test.conflist",
        R"({"cniVersion": "1.0.0", "name": "nothing", "plugins": [{"type": "nothing"}]})", 0644));
  }
  cri::NamespaceOption* OptionsOf(cri::PodSandboxConfig& config) {
    return config.mutable_linux()->mutable_security_context()->mutable_namespace_options();
  }
};

TEST_F(NamespacesTest, EveryCombinationOfThePodsAndTheNodes) {
  ASSERT_NO_FATAL_FAILURE(WriteIdleNetwork());
  for (const auto network : {cri::POD, cri::NODE}) {
    for (const auto ipc : {cri::POD, cri::NODE}) {
      for (const auto pid : {cri::POD, cri::CONTAINER, cri::NODE}) {
        const std::string name = absl::StrCat("n", network, "-i", ipc, "-p", pid);
        SCOPED_TRACE(name);
        cri::PodSandboxConfig config = PodConfig(name);
        if (network == cri::POD) config.set_hostname("inside");
        OptionsOf(config)->set_network(network);
        OptionsOf(config)->set_ipc(ipc);
        OptionsOf(config)->set_pid(pid);
        ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
        ASSERT_OK_AND_ASSIGN(const std::string a, Sleeper(pod, "a"));
        ASSERT_OK_AND_ASSIGN(const std::string b, Sleeper(pod, "b"));

        EXPECT_EQ(Of(a, "net") == OfHost("net"), network == cri::NODE);
        EXPECT_EQ(Of(a, "uts") == OfHost("uts"), network == cri::NODE);
        EXPECT_EQ(Exec(a, "hostname"), network == cri::NODE ? Shell("hostname") : "inside\n");
        EXPECT_EQ(Of(a, "ipc") == OfHost("ipc"), ipc == cri::NODE);
        EXPECT_EQ(Of(a, "pid") == OfHost("pid"), pid == cri::NODE);
        EXPECT_NE(Of(a, "mnt"), OfHost("mnt"));
        EXPECT_NE(Of(a, "cgroup"), OfHost("cgroup"));
        for (const char* shared : {"net", "uts", "ipc"}) EXPECT_EQ(Of(a, shared), Of(b, shared));
        EXPECT_EQ(Of(a, "pid") == Of(b, "pid"), pid != cri::CONTAINER);

        ASSERT_OK_AND_ASSIGN(const auto answer, cri().PodStatus(pod.id, /*verbose=*/true));
        const cri::NamespaceOption& shown = answer.status().linux().namespaces().options();
        EXPECT_EQ(shown.network(), network);
        EXPECT_EQ(shown.ipc(), ipc);
        EXPECT_EQ(shown.pid(), pid);
        // What inspectp says leads to what the containers are in.
        auto info = nlohmann::json::parse(answer.info().at("info"));
        for (const auto& ns : info["runtimeSpec"]["linux"]["namespaces"]) {
          const std::string kind = ns.value("type", "");
          const std::string type = kind == "network" ? "net" : kind;
          EXPECT_EQ(Shell(absl::StrCat("stat -L -c %i ", ns.value("path", ""))),
                    Exec(a, absl::StrCat("stat -L -c %i /proc/self/ns/", type)))
              << ns;
        }
        EXPECT_EQ(info["runtimeSpec"]["linux"]["namespaces"].size(),
                  (network == cri::POD ? 2u : 0u) + (ipc == cri::POD) + (pid == cri::POD));
        ASSERT_OK(cri().RemovePod(pod.id));
      }
    }
  }
}

TEST_F(NamespacesTest, AContainersInspectionLeadsToThePodsPidNamespace) {
  cri::PodSandboxConfig config = PodConfig("shared");
  OptionsOf(config)->set_pid(cri::POD);
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  for (const char* when : {"at first", "after a restart"}) {
    SCOPED_TRACE(when);
    cri::ContainerStatusRequest request;
    request.set_container_id(id);
    request.set_verbose(true);
    ASSERT_OK_AND_ASSIGN(const auto answer,
                         cri().Call(&CriClient::Runtime::ContainerStatus, request));
    auto info = nlohmann::json::parse(answer.info().at("info"));
    std::string path;
    for (const auto& ns : info["runtimeSpec"]["linux"]["namespaces"]) {
      if (ns["type"] == "pid") path = ns.value("path", "");
    }
    EXPECT_EQ(Shell("readlink " + path), Of(id, "pid")) << path;
    Restart();
  }
}

TEST_F(NamespacesTest, SysctlsAreOfThePodsNamespacesOnly) {
  ASSERT_NO_FATAL_FAILURE(WriteIdleNetwork());
  const auto with = [&](const std::string& name, const std::string& key, const std::string& value,
                        cri::NamespaceMode network, cri::NamespaceMode ipc) {
    cri::PodSandboxConfig config = PodConfig(name);
    OptionsOf(config)->set_network(network);
    OptionsOf(config)->set_ipc(ipc);
    (*config.mutable_linux()->mutable_sysctls())[key] = value;
    return RunPod(config);
  };
  // Whether a sysctl is safe is kubelet's to judge; both kinds are set.
  ASSERT_OK_AND_ASSIGN(const TestPod pod,
                       with("good", "net.core.somaxconn", "777", cri::POD, cri::POD));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  EXPECT_EQ(Exec(id, "cat /proc/sys/net/core/somaxconn"), "777\n");
  EXPECT_NE(Shell("cat /proc/sys/net/core/somaxconn"), "777\n");
  // Unprivileged processes may use low ports and ping, as with other runtimes.
  EXPECT_EQ(Exec(id, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0\n");

  const struct {
    const char *key, *value;
    cri::NamespaceMode network, ipc;
  } kRefused[] = {{"net.core.somaxconn", "777", cri::NODE, cri::POD},
                  {"kernel.shm_rmid_forced", "1", cri::POD, cri::NODE},
                  {"fs.mqueue.msg_max", "20", cri::NODE, cri::NODE},
                  {"kernel.pid_max", "99999", cri::POD, cri::POD},
                  {"vm.swappiness", "1", cri::POD, cri::POD},
                  {"net.core.no_such_thing", "1", cri::POD, cri::POD},
                  {"kernel.msgmax", "not a number", cri::POD, cri::POD},
                  {"net/../kernel/pid_max", "1", cri::POD, cri::POD}};
  for (const auto& refused : kRefused) {
    const auto run = with("bad", refused.key, refused.value, refused.network, refused.ipc);
    EXPECT_FALSE(run.ok()) << refused.key;
    EXPECT_TRUE(absl::StrContains(run.status().message(), refused.key)) << run.status();
  }
}

// In the node's PID namespace an orphan has no init of the pod: the keeper is a subreaper.
TEST_F(NamespacesTest, OrphansAreReapedInEveryPidMode) {
  for (const auto pid : {cri::POD, cri::NODE}) {
    cri::PodSandboxConfig config = PodConfig(absl::StrCat("reap-", pid));
    OptionsOf(config)->set_pid(pid);
    ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod(config));
    ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
    // The file comes after the orphan's end is sure: its parent is gone, and so is it.
    Exec(id, "sh -c 'sh -c \"exit 3\" & echo $! > /tmp/orphan; exit 0'");
    Exec(id,
         "p=$(cat /tmp/orphan); i=0; while [ -d /proc/$p ] && [ $i -lt 1000 ]; do "
         "i=$((i+1)); usleep 10000; done; ! [ -d /proc/$p ]");
    ASSERT_OK(cri().RemovePod(pod.id));
  }
}

TEST_F(NamespacesTest, SharedMemoryIsSizedByTheConfigurationAndSharedByThePod) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("shm"));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  EXPECT_EQ(Exec(id, "df -k /dev/shm | tail -1 | awk '{print $2}'; stat -c %a /dev/shm"),
            "65536\n1777\n");
  // An emptyDir of medium Memory takes its place, with kubelet's size.
  const std::string host = daemon_.directory() + "/emptydir";
  ASSERT_OK(MakeDirectories(host, 0777));
  Shell("mount -t tmpfs -o size=1m emptydir " + host);
  cri::ContainerConfig config = ContainerConfig("sized", {"sleep", "1000"});
  auto* mount = config.add_mounts();
  mount->set_host_path(host);
  mount->set_container_path("/dev/shm");
  auto sized = CreateAndStart(pod, config);
  EXPECT_OK(sized);
  if (sized.ok()) {
    EXPECT_EQ(Exec(*sized, "df -k /dev/shm | tail -1 | awk '{print $2}'"), "1024\n");
    EXPECT_OK(cri().RemoveContainer(*sized));
  }
  Shell("umount -l " + host);
}

class SmallSharedMemoryTest : public DaemonTest {
 protected:
  SmallSharedMemoryTest() : DaemonTest({.config = "[runtime]\nshm_size = 2097152\n"}) {}
};

TEST_F(SmallSharedMemoryTest, TheConfigurationsSizeIsTaken) {
  ASSERT_OK_AND_ASSIGN(const TestPod pod, RunPod("shm"));
  ASSERT_OK_AND_ASSIGN(const std::string id, Sleeper(pod));
  EXPECT_EQ(Exec(id, "df -k /dev/shm | tail -1 | awk '{print $2}'"), "2048\n");
}

}  // namespace
}  // namespace berth::testing
