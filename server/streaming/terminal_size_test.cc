#include "server/streaming/terminal_size.h"

#include <gtest/gtest.h>

#include "server/streaming/remote_status.h"

namespace berth {
namespace {

TEST(TerminalSizeTest, ObjectsOneAfterAnother) {
  TerminalSizeReader reader;
  EXPECT_TRUE(reader.Read("{\"Width\":8").empty());
  const auto sizes = reader.Read("0,\"Height\":24}\n {\"Height\":2,\"Width\":1}");
  ASSERT_EQ(sizes.size(), 2u);
  EXPECT_EQ(sizes[0].width, 80);
  EXPECT_EQ(sizes[0].height, 24);
  EXPECT_EQ(sizes[1].width, 1);
}

TEST(TerminalSizeTest, ABadOneEndsIt) {
  for (const std::string& bad :
       {std::string("x}"), std::string("{\"Width\":-1}"), std::string("{\"Width\":65536}"),
        std::string("{\"Width\":\"a\"}"), std::string("[}"), std::string(2000, '{')}) {
    TerminalSizeReader reader;
    EXPECT_TRUE(reader.Read(bad).empty());
    EXPECT_TRUE(reader.broken()) << bad;
    EXPECT_TRUE(reader.Read("{\"Width\":1}").empty());
  }
}

TEST(RemoteStatusTest, Forms) {
  EXPECT_EQ(EncodeRemoteStatus(0, false), "");
  EXPECT_EQ(EncodeRemoteStatus(0, true), R"({"metadata":{},"status":"Success"})");
  EXPECT_EQ(EncodeRemoteStatus(3, true),
            R"({"metadata":{},"status":"Failure","message":"command terminated with non-zero exit )"
            R"(code: exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":)"
            R"("ExitCode","message":"3"}]}})");
  EXPECT_EQ(EncodeRemoteStatus(absl::NotFoundError("no \xff"), false),
            "Internal error occurred: error executing command in container: no \xff");
  EXPECT_EQ(EncodeRemoteStatus(absl::NotFoundError("no \xff"), true),
            "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"Internal error occurred: error "
            "executing command in container: no \xef\xbf\xbd\",\"reason\":\"InternalError\","
            "\"code\":500}");
}

}  // namespace
}  // namespace berth
