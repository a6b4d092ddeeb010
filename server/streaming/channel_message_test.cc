#include "server/streaming/channel_message.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace berth {
namespace {

class Channels : public ChannelVisitor {
 public:
  void OnChannelData(int channel, absl::string_view bytes) override {
    EXPECT_FALSE(bytes.empty());
    data[channel] += std::string(bytes);
  }
  void OnChannelClosed(int channel) override { closed.insert(channel); }
  std::map<int, std::string> data;
  std::set<int> closed;
};

std::string Bytes() {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  return bytes;
}

TEST(ChannelMessageTest, BinaryMessagesInPieces) {
  Channels channels;
  ChannelReader reader(&channels, false, false);
  const std::string message = ChannelHead(3, false) + Bytes();
  for (size_t i = 0; i < message.size(); ++i)
    EXPECT_TRUE(reader.Read(message.substr(i, 1), i + 1 == message.size()).ok());
  EXPECT_TRUE(reader.Read(std::string("\0x", 2), true).ok());
  EXPECT_EQ(channels.data[3], Bytes());
  EXPECT_EQ(channels.data[0], "x");
}

TEST(ChannelMessageTest, Base64MessagesInPieces) {
  for (size_t cut = 1; cut < 9; ++cut) {
    Channels channels;
    ChannelReader reader(&channels, true, false);
    for (const size_t size : {256u, 255u, 254u}) {
      const std::string message = ChannelText(1, Bytes().substr(0, size));
      for (size_t i = 0; i < message.size(); i += cut)
        ASSERT_TRUE(reader.Read(message.substr(i, cut), i + cut >= message.size()).ok());
    }
    EXPECT_EQ(channels.data[1], Bytes() + Bytes().substr(0, 255) + Bytes().substr(0, 254));
  }
}

TEST(ChannelMessageTest, EmptyMessagesSayNothing) {
  Channels channels;
  ChannelReader binary(&channels, false, true), base64(&channels, true, false);
  EXPECT_TRUE(binary.Read("", true).ok());
  EXPECT_TRUE(binary.Read(ChannelHead(1, false), true).ok());
  EXPECT_TRUE(base64.Read(ChannelText(1, ""), true).ok());
  EXPECT_TRUE(channels.data.empty());
}

TEST(ChannelMessageTest, BadBase64IsRefused) {
  for (const char* message : {"0a", "0aGVsbG8", "0aG.l", "0aGVs bG8=", "0YQ==YQ==", "\x01YQ=="}) {
    Channels channels;
    ChannelReader reader(&channels, true, false);
    EXPECT_FALSE(reader.Read(message, true).ok()) << message;
  }
}

TEST(ChannelMessageTest, OnlyTwoBytesHalfClose) {
  Channels channels;
  ChannelReader reader(&channels, false, true);
  EXPECT_TRUE(reader.Read("\xff", true).ok());
  EXPECT_TRUE(reader.Read(std::string("\xff\x01\x02", 3), true).ok());
  EXPECT_TRUE(channels.closed.empty());
  EXPECT_TRUE(reader.Read("\xff", false).ok());
  EXPECT_TRUE(reader.Read(std::string("\0", 1), true).ok());
  EXPECT_EQ(channels.closed, std::set<int>{0});
  EXPECT_TRUE(channels.data.empty());

  ChannelReader older(&channels, false, false);
  EXPECT_TRUE(older.Read(std::string("\xff\x01", 2), true).ok());
  EXPECT_EQ(channels.closed, std::set<int>{0});
  EXPECT_EQ(channels.data[255], "\x01");
}

}  // namespace
}  // namespace berth
