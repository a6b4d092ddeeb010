#include "server/pods/handlers.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

Handler Named(const std::string& name, const std::string& path = "") {
  Handler handler;
  handler.name = name;
  handler.config.path = path;
  return handler;
}

TEST(HandlersTest, TheEmptyNameIsTheDefault) {
  const Handlers handlers({Named("berth"), Named("runc", "/usr/sbin/runc")}, "runc");
  EXPECT_EQ((*handlers.Find(""))->name, "runc");
  EXPECT_TRUE((*handlers.Find(""))->external());
  EXPECT_FALSE((*handlers.Find("berth"))->external());
}

TEST(HandlersTest, AnUnknownNameIsToldWhichThereAre) {
  const Handlers handlers({Named("berth"), Named("runc", "/usr/sbin/runc")}, "berth");
  const absl::Status status = handlers.Find("kata").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "runtime_handler: `kata` is not configured; there are berth, runc");
}

TEST(HandlersTest, FeaturesOfARuntimeThatIsNotThereAreNone) {
  Config::Runtime config;
  config.handlers["no"].path = "/no/such/runtime";
  config.handlers["false"].path = "/bin/false";
  HostFeatures host;
  host.recursive_readonly = absl::OkStatus();
  host.user_namespaces = absl::OkStatus();
  const Handlers handlers = Handlers::Probe(config, host, absl::Now() + absl::Seconds(20));
  ASSERT_EQ(handlers.all().size(), 3u);
  for (const Handler& handler : handlers.all()) {
    EXPECT_EQ(handler.recursive_read_only, handler.name == "berth") << handler.name;
    EXPECT_EQ(handler.user_namespaces, handler.name == "berth") << handler.name;
  }
}

TEST(HandlersTest, ReadsFeatures) {
  EXPECT_TRUE(KnowsRecursiveReadOnly(R"({"mountOptions": ["ro", "rro"]})"));
  EXPECT_FALSE(KnowsRecursiveReadOnly(R"({"mountOptions": ["ro"]})"));
  EXPECT_FALSE(KnowsRecursiveReadOnly(R"({"mountOptions": "rro"})"));
  EXPECT_FALSE(KnowsRecursiveReadOnly(R"(["rro"])"));
  EXPECT_FALSE(KnowsRecursiveReadOnly("unknown command features"));
  EXPECT_FALSE(KnowsRecursiveReadOnly(""));
}

TEST(HandlersTest, PatternsOfAnnotations) {
  EXPECT_TRUE(MatchesPattern("io.example.*", "io.example.a"));
  EXPECT_TRUE(MatchesPattern("io.example.*", "io.example."));
  EXPECT_FALSE(MatchesPattern("io.example.*", "io.example"));
  EXPECT_FALSE(MatchesPattern("io.example", "io.example.a"));
  EXPECT_TRUE(MatchesPattern("*", ""));
  EXPECT_TRUE(MatchesPattern("*/b*c", "a/a/bxcc"));
  EXPECT_FALSE(MatchesPattern("*/b*c", "a/a/bxcd"));
  EXPECT_FALSE(MatchesPattern("", "a"));
}

TEST(HandlersTest, OnlyWhatIsLetThroughIsPassedOnAndNothingIsReplaced) {
  Handler handler = Named("runc", "/r");
  handler.config.annotations = {"io.example.*"};
  std::map<std::string, std::string> out = {{"io.example.own", "kept"}};
  const std::map<std::string, std::string> container = {{"io.example.a", "container"},
                                                        {"io.other", "no"}};
  const std::map<std::string, std::string> pod = {
      {"io.example.a", "pod"}, {"io.example.b", "pod"}, {"io.example.own", "no"}};
  PassOnAnnotations(handler, container, &out);
  PassOnAnnotations(handler, pod, &out);
  EXPECT_EQ(out, (std::map<std::string, std::string>{{"io.example.a", "container"},
                                                     {"io.example.b", "pod"},
                                                     {"io.example.own", "kept"}}));
}

}  // namespace
}  // namespace berth
