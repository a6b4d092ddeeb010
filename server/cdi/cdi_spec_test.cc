#include "server/cdi/cdi_spec.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

constexpr char kWhole[] = R"({
  "cdiVersion": "0.6.0",
  "kind": "vendor.com/gpu",
  "annotations": {"a": "b"},
  "containerEdits": {"env": ["ALL=1"]},
  "devices": [{
    "name": "0",
    "containerEdits": {
      "env": ["GPU=0", "EMPTY="],
      "deviceNodes": [
        {"path": "/dev/gpu0", "hostPath": "/dev/null", "permissions": "rw", "type": "c",
         "major": 1, "minor": 3, "fileMode": 432, "uid": 0, "gid": 44},
        {"path": "/dev/zero"}],
      "mounts": [{"hostPath": "/lib/gpu", "containerPath": "/usr/lib/gpu",
                  "options": ["ro", "nosuid"], "type": "bind"}],
      "additionalGids": [44, 0, 45]
    }
  }, {"name": "all:2"}]
})";

std::string ErrorOf(const std::string& text) {
  const auto spec = ParseCdiSpec(text);
  return spec.ok() ? "" : std::string(spec.status().message());
}

// A file with one device whose edits are these.
std::string WithEdits(const std::string& edits) {
  return R"({"cdiVersion":"1.0.0","kind":"v/c","devices":[{"name":"d","containerEdits":)" + edits +
         "}]}";
}

TEST(CdiSpecTest, AWholeFileIsRead) {
  const auto spec = ParseCdiSpec(kWhole);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->kind, "vendor.com/gpu");
  EXPECT_THAT(spec->edits.env, ElementsAre("ALL=1"));
  ASSERT_EQ(spec->devices.size(), 2u);
  EXPECT_EQ(spec->devices[1].name, "all:2");
  const CdiEdits& edits = spec->devices[0].edits;
  EXPECT_THAT(edits.env, ElementsAre("GPU=0", "EMPTY="));
  EXPECT_THAT(edits.additional_gids, ElementsAre(44, 45));
  ASSERT_EQ(edits.device_nodes.size(), 2u);
  EXPECT_EQ(edits.device_nodes[0].host_path, "/dev/null");
  EXPECT_EQ(edits.device_nodes[0].type, 'c');
  EXPECT_EQ(edits.device_nodes[0].file_mode, 0660u);
  EXPECT_EQ(edits.device_nodes[0].gid, 44u);
  EXPECT_FALSE(edits.device_nodes[1].major.has_value());
  ASSERT_EQ(edits.mounts.size(), 1u);
  EXPECT_THAT(edits.mounts[0].options, ElementsAre("ro", "nosuid"));
  EXPECT_TRUE(edits.unsupported.empty());
}

TEST(CdiSpecTest, WhatThisRuntimeHasNotIsTold) {
  const auto spec = ParseCdiSpec(
      WithEdits(R"({"netDevices":[{"hostInterfaceName":"x"}],"intelRdt":{"closID":"x"}})"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(
      spec->devices[0].edits.unsupported,
      ElementsAre("devices[0].containerEdits.intelRdt", "devices[0].containerEdits.netDevices"));
}

TEST(CdiSpecTest, HooksAreRead) {
  const auto spec = ParseCdiSpec(
      WithEdits(R"({"hooks":[{"hookName":"createContainer","path":"/bin/x","args":["x","hook"],
                              "env":["A=1"],"timeout":5},{"hookName":"poststop","path":"/y"}]})"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  const std::vector<CdiHook>& hooks = spec->devices[0].edits.hooks;
  ASSERT_EQ(hooks.size(), 2u);
  EXPECT_EQ(hooks[0].name, "createContainer");
  EXPECT_EQ(hooks[0].path, "/bin/x");
  EXPECT_THAT(hooks[0].args, ElementsAre("x", "hook"));
  EXPECT_THAT(hooks[0].env, ElementsAre("A=1"));
  EXPECT_EQ(hooks[0].timeout, 5);
  EXPECT_EQ(hooks[1].timeout, std::nullopt);
  const std::string at = "devices[0].containerEdits.hooks[0].";
  EXPECT_EQ(ErrorOf(WithEdits(R"({"hooks":[{"hookName":"later","path":"/x"}]})")),
            at + "hookName: \"later\" is no OCI hook");
  EXPECT_EQ(ErrorOf(WithEdits(R"({"hooks":[{"hookName":"poststop","path":"x"}]})")),
            at + "path: is no absolute path");
  EXPECT_NE(ErrorOf(WithEdits(R"({"hooks":[{"hookName":"poststop","path":"/x","timeout":0}]})")),
            "");
}

TEST(CdiSpecTest, ErrorsNameTheField) {
  EXPECT_NE(ErrorOf("[]"), "");
  EXPECT_EQ(ErrorOf("{}"), "cdiVersion: \"\" is not supported");
  EXPECT_EQ(ErrorOf(R"({"cdiVersion":"2.0.0"})"), "cdiVersion: \"2.0.0\" is not supported");
  EXPECT_EQ(ErrorOf(R"({"cdiVersion":"0.2.0"})"), "cdiVersion: \"0.2.0\" is not supported");
  EXPECT_EQ(ErrorOf(R"({"cdiVersion":"1.0.0","kind":"gpu"})"), "kind: \"gpu\" is no vendor/class");
  EXPECT_EQ(ErrorOf(R"({"cdiVersion":"1.0.0","kind":"a/b","devices":[]})"), "devices: missing");
  EXPECT_EQ(ErrorOf(R"({"cdiVersion":"1.0.0","kind":"a/b","extra":1})"), "extra: unknown");
  EXPECT_EQ(ErrorOf(R"({"cdiVersion":"1.0.0","kind":"a/b","devices":[{"name":"x"},{"name":"x"}]})"),
            "devices[1].name: x occurs twice");
  const std::string at = "devices[0].containerEdits.";
  EXPECT_EQ(ErrorOf(WithEdits(R"({"env":["A"]})")), at + "env[0]: is no NAME=VALUE");
  EXPECT_EQ(ErrorOf(WithEdits(R"({"env":"A=1"})")), at + "env: is no array");
  EXPECT_EQ(ErrorOf(WithEdits(R"({"surprise":1})")), at + "surprise: unknown");
  EXPECT_EQ(ErrorOf(WithEdits(R"({"deviceNodes":[{"path":"dev/x"}]})")),
            at + "deviceNodes[0].path: is no absolute path");
  EXPECT_EQ(ErrorOf(WithEdits(R"({"deviceNodes":[{"path":"/dev/x","permissions":"rx"}]})")),
            at + "deviceNodes[0].permissions: is not out of rwm");
  EXPECT_THAT(ErrorOf(WithEdits(R"({"deviceNodes":[{"path":"/dev/x","major":-1}]})")),
              StartsWith(at + "deviceNodes[0].major: is no number"));
  EXPECT_THAT(ErrorOf(WithEdits(R"({"deviceNodes":[{"path":"/d","uid":4294967295}]})")),
              StartsWith(at + "deviceNodes[0].uid: is no number"));
  EXPECT_THAT(ErrorOf(WithEdits(R"({"deviceNodes":[{"path":"/d","uid":18446744073709551615}]})")),
              StartsWith(at + "deviceNodes[0].uid: is no number"));
  EXPECT_EQ(ErrorOf(WithEdits(R"({"mounts":[{"containerPath":"/x"}]})")),
            at + "mounts[0].hostPath: missing");
  EXPECT_EQ(ErrorOf(WithEdits(R"({"mounts":[{"hostPath":"/x"}]})")),
            at + "mounts[0].containerPath: is no absolute path");
  EXPECT_EQ(ErrorOf(WithEdits(R"({"env":["A=\u0000"]})")), at + "env[0]: has a NUL byte");
}

TEST(CdiNameTest, NamesAreVendorClassDevice) {
  const auto name = ParseCdiName("vendor.com/net-class=eth_0.1:2");
  ASSERT_TRUE(name.ok());
  EXPECT_EQ(name->kind, "vendor.com/net-class");
  EXPECT_EQ(name->device, "eth_0.1:2");
  for (const char* bad : {"", "gpu", "gpu=0", "v/c", "v/c=", "/c=0", "v/=0", "1v/c=0", "v/c/d=0",
                          "v/c=-", "v/c=a b", "v/c=0/../x"}) {
    EXPECT_FALSE(ParseCdiName(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace berth
