#include "server/images/auth_challenge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(AuthChallenge, BearerWithQuotedParameters) {
  const auto all = ParseAuthChallenges(
      R"(Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push")");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].scheme, "bearer");
  EXPECT_THAT(all[0].parameters, UnorderedElementsAre(Pair("realm", "https://auth.example/token"),
                                                      Pair("service", "reg"),
                                                      Pair("scope", "repository:a/b:pull,push")));
}

TEST(AuthChallenge, SeveralChallengesInOneHeader) {
  const auto all = ParseAuthChallenges("Negotiate, Basic Realm=\"a \\\"b\\\"\" , BEARER realm = x");
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].scheme, "negotiate");
  EXPECT_THAT(all[0].parameters, IsEmpty());
  EXPECT_THAT(all[1].parameters, ElementsAre(Pair("realm", "a \"b\"")));
  EXPECT_EQ(all[2].scheme, "bearer");
  EXPECT_THAT(all[2].parameters, ElementsAre(Pair("realm", "x")));
}

TEST(AuthChallenge, RubbishEndsTheList) {
  EXPECT_THAT(ParseAuthChallenges(""), IsEmpty());
  EXPECT_THAT(ParseAuthChallenges("\"=="), IsEmpty());
  const auto all = ParseAuthChallenges("Bearer realm=\"never ends");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_THAT(all[0].parameters, IsEmpty());
}

}  // namespace
}  // namespace berth
