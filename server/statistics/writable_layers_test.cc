#include "server/statistics/writable_layers.h"

#include <gtest/gtest.h>

#include <atomic>

#include "absl/time/clock.h"
#include "base/notification.h"

namespace berth {
namespace {

const SnapshotId kLayer("a");

std::optional<WritableLayers::Measured> WaitFor(WritableLayers& layers, const SnapshotId& id) {
  while (true) {
    if (const auto measured = layers.Get(id); measured.has_value()) return measured;
    absl::SleepFor(absl::Milliseconds(1));
  }
}

TEST(WritableLayersTest, AReadingDoesNotWaitForTheDisk) {
  Notification disk_answers;
  WritableLayers layers([&](const SnapshotId&, const Cancellation&) {
    disk_answers.WaitForNotification();
    return DiskUsage{.bytes = 7, .inodes = 2};
  });
  EXPECT_FALSE(layers.Get(kLayer).has_value());
  EXPECT_FALSE(layers.Get(kLayer).has_value());
  disk_answers.Notify();
  const auto measured = WaitFor(layers, kLayer);
  EXPECT_EQ(measured->usage.bytes, 7u);
  EXPECT_EQ(measured->usage.inodes, 2u);
}

TEST(WritableLayersTest, WhatIsYoungIsNotMeasuredAgain) {
  std::atomic<int> measurements{0};
  WritableLayers layers([&](const SnapshotId&, const Cancellation&) {
    return DiskUsage{.bytes = static_cast<uint64_t>(++measurements)};
  });
  WaitFor(layers, kLayer);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(layers.Get(kLayer)->usage.bytes, 1u);
  WaitFor(layers, SnapshotId("b"));
  EXPECT_EQ(measurements, 2);
}

TEST(WritableLayersTest, WhatIsOldIsMeasuredAgainWhenSomebodyReads) {
  std::atomic<int> measurements{0};
  WritableLayers layers(
      [&](const SnapshotId&, const Cancellation&) {
        return DiskUsage{.bytes = static_cast<uint64_t>(++measurements)};
      },
      absl::Milliseconds(1));
  while (WaitFor(layers, kLayer)->usage.bytes < 3) absl::SleepFor(absl::Milliseconds(1));
}

TEST(WritableLayersTest, AFailureKeepsWhatWasKnown) {
  std::atomic<int> measurements{0};
  WritableLayers layers(
      [&](const SnapshotId&, const Cancellation&) -> absl::StatusOr<DiskUsage> {
        if (++measurements > 1) return absl::NotFoundError("gone");
        return DiskUsage{.bytes = 1};
      },
      absl::ZeroDuration());
  while (measurements < 3) layers.Get(kLayer);
  EXPECT_EQ(layers.Get(kLayer)->usage.bytes, 1u);
  layers.Forget(kLayer);
  EXPECT_FALSE(layers.Get(kLayer).has_value());
}

TEST(WritableLayersTest, TheEndInterruptsAMeasurement) {
  Notification measuring;
  auto layers =
      std::make_unique<WritableLayers>([&](const SnapshotId&, const Cancellation& cancellation) {
        measuring.Notify();
        while (cancellation.Check().ok()) absl::SleepFor(absl::Milliseconds(1));
        return DiskUsage();
      });
  layers->Get(kLayer);
  measuring.WaitForNotification();
  layers.reset();
}

}  // namespace
}  // namespace berth
