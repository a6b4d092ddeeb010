// main of every integration test: all of it runs in a private machine.
#include <gtest/gtest.h>

#include "tests/harness/private_machine.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (::testing::GTEST_FLAG(list_tests)) return RUN_ALL_TESTS();
  return berth::testing::RunInPrivateMachine([] { return RUN_ALL_TESTS(); });
}
