#include "runtime/spec/spec.h"

#include <sys/resource.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace berth {
namespace {

constexpr const char* kFull = R"({
  "ociVersion": "1.2.0",
  "process": {
    "terminal": true, "consoleSize": {"height": 25, "width": 80},
    "user": {"uid": 1000, "gid": 1001, "umask": 18, "additionalGids": [5, 6]},
    "args": ["sh", "-c", "true"], "env": ["A=b"], "cwd": "/tmp",
    "capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"],
                     "permitted": ["CAP_KILL"], "inheritable": [], "ambient": []},
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 18446744073709551615}],
    "noNewPrivileges": true, "apparmorProfile": "p", "selinuxLabel": "l", "oomScoreAdj": -5
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "h", "domainname": "d",
  "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]}],
  "hooks": {"createRuntime": [{"path": "/bin/h", "args": ["h"], "env": ["X=1"], "timeout": 3}]},
  "annotations": {"k": "v"},
  "linux": {
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
    "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "resources": {
      "cpu": {"shares": 512, "quota": 1000, "period": 10000, "burst": 5, "idle": 0, "cpus": "0", "mems": "0"},
      "memory": {"limit": 1048576, "reservation": 4096, "swap": 2097152, "checkBeforeUpdate": true},
      "pids": {"limit": 10}, "hugepageLimits": [{"pageSize": "2MB", "limit": 3}],
      "devices": [{"allow": false, "access": "rwm"},
                  {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}],
      "unified": {"io.weight": "5"}},
    "cgroupsPath": "/a/b",
    "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}, {"type": "uts"}],
    "devices": [{"type": "c", "path": "/dev/x", "major": 1, "minor": 2, "fileMode": 384, "uid": 3, "gid": 4}],
    "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    "rootfsPropagation": "slave", "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
    "mountLabel": "m"
  }
})";

TEST(Spec, SurvivesAJourneyThroughJson) {
  const absl::StatusOr<Spec> spec = ParseSpec(kFull);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const nlohmann::json once = SpecToJson(*spec);
  const absl::StatusOr<Spec> again = ParseSpec(once.dump());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(SpecToJson(*again), once);
  // Nothing was lost: what was said is in it.
  const nlohmann::json original = nlohmann::json::parse(kFull);
  for (const auto& change : nlohmann::json::diff(original, once)) {
    if (change["op"] == "add") continue;
    // Sets come back in the order of their numbers.
    EXPECT_THAT(change["path"].get<std::string>(),
                testing::AnyOf(testing::HasSubstr("capabilities"),
                               testing::HasSubstr("linux/resources/devices/0")))
        << change;
  }
}

TEST(Spec, ValuesArrive) {
  const Spec spec = *ParseSpec(kFull);
  EXPECT_EQ(spec.process->user.additional_gids, (std::vector<uint32_t>{5, 6}));
  EXPECT_EQ(spec.process->capabilities->bounding, 0x21u);
  EXPECT_EQ(spec.process->rlimits[0].resource, RLIMIT_NOFILE);
  EXPECT_EQ(spec.process->rlimits[0].hard, ~uint64_t{0});
  EXPECT_EQ(spec.Namespace(NamespaceKind::kNetwork)->path, "/run/netns/x");
  EXPECT_EQ(spec.Namespace(NamespaceKind::kIpc), nullptr);
  EXPECT_EQ(spec.linux_.resources.devices->at(1).access, "rw");
  EXPECT_EQ(spec.linux_.resources.devices->at(0).type, 'a');
}

struct Refused {
  const char* pointer;
  const char* value;
  const char* message;
};

class SpecErrors : public testing::TestWithParam<Refused> {};

TEST_P(SpecErrors, NameTheField) {
  nlohmann::json value = nlohmann::json::parse(kFull);
  value[nlohmann::json::json_pointer(GetParam().pointer)] = nlohmann::json::parse(GetParam().value);
  const absl::StatusOr<Spec> spec = SpecFromJson(value);
  ASSERT_FALSE(spec.ok());
  EXPECT_EQ(std::string(spec.status().message()), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, SpecErrors,
    testing::Values(
        Refused{"/linux/resources/memory/limit", "\"1\"",
                "linux.resources.memory.limit: want an integer"},
        Refused{"/linux/resources/memory/limit", "1.5",
                "linux.resources.memory.limit: want an integer"},
        Refused{"/linux/resources/unified", R"({"a.b": "1\u00002"})",
                "linux.resources.unified: has a NUL byte"},
        Refused{"/linux/resources/memory/swap", "4096",
                "linux.resources.memory.swap: is less than memory.limit; it counts both"},
        Refused{"/process/user/uid", "-1", "process.user.uid: -1 is out of range"},
        Refused{"/process/user/uid", "4294967296", "process.user.uid: 4294967296 is out of range"},
        Refused{"/process/args", "\"sh\"", "process.args: want an array"},
        Refused{"/process/args", "[\"a\\u0000b\"]", "process.args[0]: has a NUL byte"},
        Refused{"/process/cwd", "\"tmp\"", "process.cwd: want an absolute path"},
        Refused{"/process/capabilities/bounding", "[\"CAP_FLY\"]",
                "process.capabilities.bounding[0]: unknown capability \"CAP_FLY\""},
        Refused{"/process/rlimits/0/type", "\"RLIMIT_X\"",
                "process.rlimits[0].type: unknown limit \"RLIMIT_X\""},
        Refused{"/process/oomScoreAdj", "1001", "process.oomScoreAdj: want -1000 to 1000"},
        Refused{"/mounts/0", "[]", "mounts[0]: want an object"},
        Refused{"/mounts/0/destination", "\"\"", "mounts[0].destination: missing"},
        Refused{"/linux/namespaces/1/type", "\"pid\"", "linux.namespaces[1].type: pid twice"},
        Refused{"/linux/namespaces/1/type", "\"moon\"",
                "linux.namespaces[1].type: unknown namespace \"moon\""},
        Refused{"/linux/resources/devices/1/access", "\"x\"",
                "linux.resources.devices[1].access: want letters out of rwm"},
        Refused{"/linux/maskedPaths", "[\"proc\"]", "linux.maskedPaths[0]: want an absolute path"},
        Refused{"/linux/seccomp/defaultAction", "\"X\"",
                "linux.seccomp.defaultAction: unknown action \"X\""},
        Refused{"/ociVersion", "\"2.0.0\"", "ociVersion: want 1.x, not \"2.0.0\""},
        Refused{"/linux", "7", "linux: want an object"}));

TEST(Spec, WhatIsNoJsonIsRefused) {
  EXPECT_FALSE(ParseSpec("{").ok());
  EXPECT_FALSE(ParseSpec("").ok());
  EXPECT_FALSE(ParseSpec("[]").ok());
  EXPECT_FALSE(ParseSpec(R"({"ociVersion": "1.0.0", "hostname": "x"})").ok());
}

}  // namespace
}  // namespace berth
