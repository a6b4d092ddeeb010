#include "server/cri/proto_json.h"

#include "gtest/gtest.h"
#include "server/cri/api.h"

namespace berth {
namespace {

using nlohmann::json;

TEST(ProtoJsonTest, WhatIsNotSetIsLeftOut) {
  EXPECT_EQ(ProtoToJson(cri::ContainerConfig()), json::object());
}

TEST(ProtoJsonTest, NamesAndNumbersAreThoseOfTheProto) {
  cri::ContainerConfig config;
  config.mutable_metadata()->set_name("web");
  config.set_log_path("web_0.log");
  config.add_args("-v");
  config.set_tty(true);
  auto* resources = config.mutable_linux()->mutable_resources();
  resources->set_memory_limit_in_bytes(int64_t{1} << 40);
  (*resources->mutable_unified())["memory.high"] = "max";
  config.mutable_linux()->mutable_security_context()->mutable_run_as_user()->set_value(0);
  auto* mount = config.add_mounts();
  mount->set_container_path("/data");
  mount->set_propagation(cri::PROPAGATION_BIDIRECTIONAL);
  EXPECT_EQ(ProtoToJson(config),
            json::parse(R"({"metadata": {"name": "web"}, "log_path": "web_0.log", "args": ["-v"],
                            "tty": true,
                            "mounts": [{"container_path": "/data", "propagation": 2}],
                            "linux": {"resources": {"memory_limit_in_bytes": 1099511627776,
                                                    "unified": {"memory.high": "max"}},
                                      "security_context": {"run_as_user": {}}}})"));
}

}  // namespace
}  // namespace berth
