#include "server/streaming/tokens.h"

#include <gtest/gtest.h>

#include <set>

namespace berth {
namespace {

TEST(TokensTest, ATokenIsGoodForOneUse) {
  Tokens<int> tokens;
  const std::string token = tokens.Issue(7).value();
  EXPECT_EQ(token.size(), 32u);
  EXPECT_EQ(tokens.Take("x" + token.substr(1)), std::nullopt);
  EXPECT_EQ(tokens.Take(token), 7);
  EXPECT_EQ(tokens.Take(token), std::nullopt);
}

TEST(TokensTest, ATokenExpires) {
  Tokens<int> tokens;
  const absl::Time now = absl::Now();
  const std::string token = tokens.Issue(7, now).value();
  const std::string other = tokens.Issue(8, now).value();
  EXPECT_EQ(tokens.Take(other, now + kTokenLife - absl::Nanoseconds(1)), 8);
  EXPECT_EQ(tokens.Take(token, now + kTokenLife), std::nullopt);
}

TEST(TokensTest, TheirNumberIsBounded) {
  Tokens<int> tokens;
  const absl::Time now = absl::Now();
  std::set<std::string> all;
  for (size_t i = 0; i < kMaxTokens; ++i) all.insert(tokens.Issue(1, now).value());
  EXPECT_EQ(all.size(), kMaxTokens);
  EXPECT_TRUE(absl::IsResourceExhausted(tokens.Issue(1, now).status()));
  EXPECT_EQ(tokens.Take(*all.begin(), now), 1);
  EXPECT_TRUE(tokens.Issue(1, now).ok());
  EXPECT_FALSE(tokens.Issue(1, now).ok());
  EXPECT_TRUE(tokens.Issue(1, now + kTokenLife).ok());
}

}  // namespace
}  // namespace berth
