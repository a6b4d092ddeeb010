#include "server/network/sysctls.h"

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

const PodNamespaces kOwn;

TEST(SysctlsTest, AnOwnNetworkGetsTheDefaults) {
  EXPECT_THAT(*PodSysctls({}, kOwn),
              ElementsAre(Pair("net.ipv4.ip_unprivileged_port_start", "0"),
                          Pair("net.ipv4.ping_group_range", "0 2147483647")));
  EXPECT_THAT(*PodSysctls({}, {.user_namespace = true}),
              ElementsAre(Pair("net.ipv4.ip_unprivileged_port_start", "0")));
  EXPECT_THAT(*PodSysctls({}, {.host_network = true}), IsEmpty());
}

TEST(SysctlsTest, ThePodsOwnValuesWinInEitherSpelling) {
  EXPECT_THAT(
      *PodSysctls({{"net/ipv4/ip_unprivileged_port_start", "80"}, {"kernel.sem", "1 2"}},
                  {.user_namespace = true}),
      ElementsAre(Pair("kernel.sem", "1 2"), Pair("net.ipv4.ip_unprivileged_port_start", "80")));
}

TEST(SysctlsTest, DotsInsideAComponentSurvive) {
  EXPECT_THAT(*PodSysctls({{"net/ipv4/conf/eth0.100/forwarding", "1"}}, {.user_namespace = true}),
              testing::Contains(Pair("net.ipv4.conf.eth0/100.forwarding", "1")));
}

TEST(SysctlsTest, OnlyNamespacedOnesPass) {
  for (const char* key : {"kernel.shmmax", "kernel.shm_rmid_forced", "kernel.msgmax", "kernel.sem",
                          "fs.mqueue.msg_max", "net.core.somaxconn"}) {
    EXPECT_TRUE(PodSysctls({{key, "1"}}, kOwn).ok()) << key;
  }
  for (const char* key : {"kernel.panic", "vm.swappiness", "fs.file-max", "kernel.semaphore",
                          "kernel.sem_next_id", "network.x", "net", "fs.mqueue"}) {
    const absl::Status status = PodSysctls({{key, "1"}}, kOwn).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key;
    EXPECT_TRUE(absl::StrContains(status.message(), key)) << status;
  }
}

TEST(SysctlsTest, TheHostsNamespacesAreNotTouched) {
  EXPECT_EQ(PodSysctls({{"net.core.somaxconn", "1"}}, {.host_network = true}).status().message(),
            "sysctl `net.core.somaxconn`: not allowed with the host's network");
  EXPECT_FALSE(PodSysctls({{"kernel.shmmax", "1"}}, {.host_ipc = true}).ok());
  EXPECT_FALSE(PodSysctls({{"fs.mqueue.msg_max", "1"}}, {.host_ipc = true}).ok());
  EXPECT_TRUE(PodSysctls({{"kernel.shmmax", "1"}}, {.host_network = true}).ok());
  EXPECT_TRUE(PodSysctls({{"net.core.somaxconn", "1"}}, {.host_ipc = true}).ok());
}

TEST(SysctlsTest, MalformedOnesAreRefused) {
  for (const char* key : {"", ".", "net.", "net..x", "net/../kernel/panic", "net.//.kernel.panic",
                          "net./.x", "net.a b", "net.\n"}) {
    EXPECT_FALSE(PodSysctls({{key, "1"}}, kOwn).ok()) << key;
  }
  EXPECT_FALSE(PodSysctls({{"net.x", "1\n2"}}, kOwn).ok());
  EXPECT_FALSE(PodSysctls({{"net.core.x", "1"}, {"net/core/x", "2"}}, kOwn).ok());
}

}  // namespace
}  // namespace berth
