#include "runtime/keeper/protocol.h"

#include <cerrno>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace berth {
namespace {

KeeperRequest Request(RequestType type, const char* id) {
  KeeperRequest r{};
  r.magic = kKeeperMagic;
  r.version = kKeeperVersion;
  r.type = type;
  std::strncpy(r.id, id, sizeof r.id - 1);
  return r;
}

TEST(ProtocolTest, ARequestNeedsItsDescriptors) {
  EXPECT_EQ(CheckRequest(Request(RequestType::kCreate, "c1"), sizeof(KeeperRequest), 2), 0);
  EXPECT_EQ(CheckRequest(Request(RequestType::kCreate, "c1"), sizeof(KeeperRequest), 1), EPROTO);
  EXPECT_EQ(CheckRequest(Request(RequestType::kCreate, "c1"), sizeof(KeeperRequest), 3), EPROTO);
  KeeperRequest start = Request(RequestType::kStart, "c1");
  EXPECT_EQ(CheckRequest(start, sizeof start, 1), 0);
  start.flags = kHasLog;
  EXPECT_EQ(CheckRequest(start, sizeof start, 1), EPROTO);
  EXPECT_EQ(CheckRequest(Request(RequestType::kList, ""), sizeof(KeeperRequest), 1), 0);
}

TEST(ProtocolTest, WrongSizesMagicsTypesAndIdsAreRefused) {
  KeeperRequest r = Request(RequestType::kSignal, "c1");
  EXPECT_EQ(CheckRequest(r, sizeof r, 1), 0);
  EXPECT_EQ(CheckRequest(r, sizeof r - 1, 1), EPROTO);
  r.magic ^= 1;
  EXPECT_EQ(CheckRequest(r, sizeof r, 1), EPROTO);
  EXPECT_EQ(CheckRequest(Request(static_cast<RequestType>(99), "c1"), sizeof r, 1), EPROTO);
  EXPECT_EQ(CheckRequest(Request(RequestType::kForget, ""), sizeof r, 1), EINVAL);
  EXPECT_EQ(CheckRequest(Request(RequestType::kForget, "../x"), sizeof r, 1), EINVAL);
  KeeperRequest endless = Request(RequestType::kForget, "");
  std::memset(endless.id, 'a', sizeof endless.id);
  EXPECT_EQ(CheckRequest(endless, sizeof endless, 1), EINVAL);
}

TEST(ProtocolTest, OlderKeepersServeStopButNotCreate) {
  KeeperRequest create = Request(RequestType::kCreate, "c1");
  KeeperRequest signal = Request(RequestType::kSignal, "c1");
  create.version = signal.version = kKeeperVersion + 1;
  EXPECT_EQ(CheckRequest(create, sizeof create, 2), EPROTONOSUPPORT);
  EXPECT_EQ(CheckRequest(signal, sizeof signal, 1), 0);
}

TEST(ProtocolTest, RepliesCarryExactlyTheirGroups) {
  std::vector<char> bytes(sizeof(KeeperReply));
  KeeperReply& reply = *reinterpret_cast<KeeperReply*>(bytes.data());
  reply.magic = kKeeperMagic;
  reply.group_count = 2;
  EXPECT_TRUE(ReplyIsValid(reply, offsetof(KeeperReply, groups) + 8));
  EXPECT_FALSE(ReplyIsValid(reply, offsetof(KeeperReply, groups) + 4));
  reply.group_count = 0xffffffff;
  EXPECT_FALSE(ReplyIsValid(reply, sizeof reply));
}

TEST(ProtocolTest, ParametersMustBeExactlyTheirStrings) {
  KeeperParameters p{};
  p.magic = kKeeperMagic;
  p.version = kKeeperVersion;
  p.sysctls = 1;
  std::string strings("host\0\0\0\0net.a\0001\0", 16);
  p.strings_size = strings.size();
  auto valid = [&](const std::string& s) {
    std::vector<uint64_t> aligned((sizeof p + s.size()) / 8 + 1);
    std::memcpy(aligned.data(), &p, sizeof p);
    std::memcpy(reinterpret_cast<char*>(aligned.data()) + sizeof p, s.data(), s.size());
    return ParametersAreValid(aligned.data(), sizeof p + s.size());
  };
  EXPECT_TRUE(valid(strings));
  EXPECT_FALSE(valid(strings.substr(0, 15)));
  strings[15] = 'x';  // unterminated
  EXPECT_FALSE(valid(strings));
  p.sysctls = 0xffffffff;
  EXPECT_FALSE(valid(strings));
}

TEST(ProtocolTest, NoBytesAreOutOfBounds) {  // ASan judges
  std::mt19937 random(7);
  for (int i = 0; i < 100000; ++i) {
    KeeperRequest r = Request(RequestType::kExec, "c1");
    reinterpret_cast<unsigned char*>(&r)[random() % sizeof r] = random();
    CheckRequest(r, sizeof r, random() % 7);
  }
}

}  // namespace
}  // namespace berth
