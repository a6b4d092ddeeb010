#include "server/streaming/spdy_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace berth {
namespace {

using ::testing::ElementsAre;

// Writes down what it hears.
class Listener : public SpdyVisitor {
 public:
  void OnSynStream(uint32_t id, bool fin, const SpdyHeaders& headers) override {
    Say("syn", id, fin, headers);
  }
  void OnSynReply(uint32_t id, bool fin, const SpdyHeaders& headers) override {
    Say("reply", id, fin, headers);
  }
  void OnHeaders(uint32_t id, bool fin, const SpdyHeaders& headers) override {
    Say("headers", id, fin, headers);
  }
  void OnReset(uint32_t id, uint32_t status) override {
    Add(absl::StrCat("reset ", id, " ", status));
  }
  void OnInitialWindow(uint32_t bytes) override { Add(absl::StrCat("initial ", bytes)); }
  void OnPing(uint32_t id) override { Add(absl::StrCat("ping ", id)); }
  void OnGoAway(uint32_t status) override { Add(absl::StrCat("goaway ", status)); }
  void OnWindowUpdate(uint32_t id, uint32_t delta) override {
    Add(absl::StrCat("window ", id, " ", delta));
  }
  // Pieces of one frame are put together.
  void OnData(uint32_t id, absl::string_view bytes, bool fin) override {
    data += std::string(bytes);
    if (fin) Add(absl::StrCat("end ", id));
  }

  std::vector<std::string> heard;
  std::string data;

 private:
  void Add(std::string text) { heard.push_back(std::move(text)); }
  void Say(const char* what, uint32_t id, bool fin, const SpdyHeaders& headers) {
    std::string text = absl::StrCat(what, " ", id, fin ? " fin" : "");
    for (const auto& [name, value] : headers) absl::StrAppend(&text, " ", name, "=", value);
    Add(text);
  }
};

std::string Everything() {
  SpdyWriter writer;
  // One after the other: the compression goes on from block to block.
  std::string frames = writer.SynStream(1, false, {{"streamtype", "stdin"}, {"port", "80"}});
  frames += writer.SynStream(3, true, {});
  frames += writer.SynReply(1, false, {{"a", "b"}});
  return absl::StrCat(frames, SpdyWriter::DataHead(1, 5, false), "hello",
                      SpdyWriter::DataHead(1, 0, true), SpdyWriter::Reset(3, SpdyReset::kCancel),
                      SpdyWriter::InitialWindow(1000), SpdyWriter::Ping(7),
                      SpdyWriter::WindowUpdate(1, 99),
                      SpdyWriter::GoAway(3, SpdyGoAway::kProtocolError));
}

void ExpectEverything(const Listener& listener) {
  EXPECT_THAT(listener.heard,
              ElementsAre("syn 1 streamtype=stdin port=80", "syn 3 fin", "reply 1 a=b", "end 1",
                          "reset 3 5", "initial 1000", "ping 7", "window 1 99", "goaway 1"));
  EXPECT_EQ(listener.data, "hello");
}

TEST(SpdyFrameTest, WhatIsWrittenIsRead) {
  Listener listener;
  SpdyReader reader(&listener);
  EXPECT_TRUE(reader.Read(Everything()).ok());
  ExpectEverything(listener);
}

TEST(SpdyFrameTest, FramesMayBeCutAnywhere) {
  Listener listener;
  SpdyReader reader(&listener);
  for (const char c : Everything()) EXPECT_TRUE(reader.Read(absl::string_view(&c, 1)).ok());
  ExpectEverything(listener);
}

// Adler-32 of the dictionary, which a zlib stream names (SPDY/3 draft, 2.6.10.1).
TEST(SpdyFrameTest, TheDictionaryIsSpdys) {
  const std::string& d = SpdyHeaderDictionary();
  EXPECT_EQ(d.size(), 1423u);
  EXPECT_EQ(adler32(1, reinterpret_cast<const Bytef*>(d.data()), static_cast<uInt>(d.size())),
            0xe3c6a7c2u);
}

TEST(SpdyFrameTest, UnknownControlFramesAreIgnored) {
  Listener listener;
  SpdyReader reader(&listener);
  const std::string unknown("\x80\x03\x00\x0b\x00\x00\x00\x02xy", 10);
  EXPECT_TRUE(reader.Read(unknown + SpdyWriter::Ping(1)).ok());
  EXPECT_THAT(listener.heard, ElementsAre("ping 1"));
}

TEST(SpdyFrameTest, OfASettingTheFirstCounts) {
  Listener listener;
  SpdyReader reader(&listener);
  const std::string twice(
      "\x80\x03\x00\x04\x00\x00\x00\x14\0\0\0\2\0\0\0\7\0\0\0\x10\0\0\0\7\0\0\0\x20", 28);
  EXPECT_TRUE(reader.Read(twice).ok());
  EXPECT_THAT(listener.heard, ElementsAre("initial 16"));
}

TEST(SpdyFrameTest, WhatBreaksTheProtocolIsRefused) {
  const std::vector<std::string> broken = {
      std::string("\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01", 12),  // version 2
      std::string("\x80\x03\x00\x06\x00\xff\xff\xff", 8),                   // 16 MiB of ping
      std::string("\x80\x03\x00\x06\x00\x00\x00\x02\x00\x00", 10),          // a short ping
      std::string("\x80\x03\x00\x09\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00", 16),
      std::string("\x80\x03\x00\x01\x00\x00\x00\x04\x00\x00\x00\x01", 12),
      std::string("\x80\x03\x00\x01\x00\x00\x00\x0e\0\0\0\1\0\0\0\0\0\0garb", 22),
      std::string("\x80\x03\x00\x04\x00\x00\x00\x04\xff\xff\xff\xff", 12),
      std::string("\x00\x00\x00\x00\x00\x00\x00\x01x", 9),  // data of stream 0
  };
  for (const std::string& bytes : broken) {
    Listener listener;
    SpdyReader reader(&listener);
    EXPECT_FALSE(reader.Read(bytes).ok()) << absl::CHexEscape(bytes);
    EXPECT_FALSE(reader.Read(SpdyWriter::Ping(1)).ok()) << "it goes on";
    EXPECT_THAT(listener.heard, ElementsAre());
  }
}

TEST(SpdyFrameTest, AHeaderBombIsRefused) {
  SpdyWriter writer;
  Listener listener;
  SpdyReader reader(&listener);
  // A megabyte of zeros in a few hundred compressed bytes.
  const std::string bomb = writer.SynStream(1, false, {{"x", std::string(1 << 20, 'a')}});
  ASSERT_LT(bomb.size(), kSpdyMaxControl);
  EXPECT_FALSE(reader.Read(bomb).ok());
}

TEST(SpdyFrameTest, HeaderCountsAreBounded) {
  SpdyWriter writer;
  Listener listener;
  SpdyReader reader(&listener);
  EXPECT_TRUE(reader.Read(writer.SynStream(1, false, SpdyHeaders(64, {"a", "b"}))).ok());
  EXPECT_FALSE(reader.Read(writer.SynStream(3, false, SpdyHeaders(65, {"a", "b"}))).ok());
}

TEST(SpdyFrameTest, HeadersAreFoundWhateverTheirCase) {
  EXPECT_EQ(FindSpdyHeader({{"StreamType", "error"}}, "streamtype"), "error");
  EXPECT_EQ(FindSpdyHeader({{"a", std::string("1\0002", 3)}}, "a"), "1");
  EXPECT_EQ(FindSpdyHeader({}, "a"), "");
}

}  // namespace
}  // namespace berth
