#include "server/pods/signals.h"

#include <signal.h>

#include "gtest/gtest.h"

namespace berth {
namespace {

TEST(SignalsTest, EverySpellingOfASignalIsUnderstood) {
  for (const char* text : {"SIGTERM", "TERM", "sigterm", "15"}) {
    EXPECT_EQ(*ParseSignal(text), SIGTERM) << text;
  }
  EXPECT_EQ(*ParseSignal("SIGRTMIN+3"), SIGRTMIN + 3);
  EXPECT_EQ(*ParseSignal("RTMAX-1"), SIGRTMAX - 1);
  EXPECT_EQ(*ParseSignal("SIGCLD"), SIGCHLD);
}

TEST(SignalsTest, WhatIsNoSignalIsRefused) {
  for (const char* text : {"", "0", "65", "-1", "SIGNOPE", "RTMIN+99", "15x"}) {
    EXPECT_EQ(ParseSignal(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(SignalsTest, EveryValueOfTheCriHasANameAndANumber) {
  for (int value = 1; value <= cri::Signal_MAX; ++value) {
    if (!cri::Signal_IsValid(value)) continue;
    const auto signal = static_cast<cri::Signal>(value);
    const std::string name = SignalName(signal);
    EXPECT_TRUE(ParseSignal(name).ok()) << name;
    EXPECT_EQ(SignalValue(name), signal) << name;
  }
  EXPECT_EQ(SignalName(cri::SIGNAL_RUNTIME_DEFAULT), "");
  EXPECT_EQ(SignalValue("TERM"), cri::SIGNAL_SIGTERM);
  EXPECT_EQ(SignalValue("15"), cri::SIGNAL_RUNTIME_DEFAULT);
}

}  // namespace
}  // namespace berth
