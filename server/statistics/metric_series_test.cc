#include "server/statistics/metric_series.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/files.h"
#include "server/statistics/cri_usage.h"

namespace berth {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

class MetricSeriesTest : public ::testing::Test {
 protected:
  MetricSeriesTest() {
    pod_.set_id("podid");
    pod_.mutable_config()->mutable_metadata()->set_name("web-0");
    pod_.mutable_config()->mutable_metadata()->set_namespace_("shop");
    container_.set_id("containerid");
    container_.set_cgroup_path("/kubepods/pod1/containerid");
    container_.set_user_image("registry/web:1");
    container_.set_started_at_ns(1'700'000'000'900'000'000);
    container_.mutable_config()->mutable_metadata()->set_name("web");
  }

  // `name{extra labels} value` of each series; their common labels are compared with `common`.
  std::vector<std::string> Texts(const std::vector<std::string>& common) {
    std::map<std::string, cri::MetricDescriptor> descriptors;
    for (const cri::MetricDescriptor& descriptor : MetricDescriptors()) {
      descriptors[descriptor.name()] = descriptor;
    }
    std::vector<std::string> texts;
    for (const cri::Metric& metric : metrics_) {
      EXPECT_EQ(metric.label_values_size(), descriptors[metric.name()].label_keys_size())
          << metric.name();
      const std::vector<std::string> labels(metric.label_values().begin(),
                                            metric.label_values().end());
      EXPECT_EQ(std::vector<std::string>(labels.begin(), labels.begin() + common.size()), common);
      texts.push_back(absl::StrCat(metric.name(), "{",
                                   absl::StrJoin(labels.begin() + common.size(), labels.end(), ","),
                                   "} ", metric.value().value()));
    }
    return texts;
  }

  store::v1::PodRecord pod_;
  store::v1::ContainerRecord container_;
  MetricSeries::Metrics metrics_;
};

TEST_F(MetricSeriesTest, AContainersCgroup) {
  CgroupStats stats;
  stats.cpu.usage_ns = 12'345'678'901;
  stats.memory.usage = 5000;
  stats.memory.inactive_file = 3000;
  stats.memory.page_faults = 7;
  stats.pids.current = 3;
  stats.cpu.pressure = Pressure{.some = {.total_us = 2'500'000}, .full = {.total_us = 1'000'000}};
  stats.io.devices = {{.major = 4095, .minor = 9, .read_bytes = 512, .reads = 1}};
  stats.hugetlb = {{.page_size = "2MB", .usage = 4 << 20}};
  MetricSeries::OfContainer(pod_, container_, &metrics_).AddCgroup(stats);
  const auto texts = Texts(
      {"web", "/kubepods/pod1/containerid", "registry/web:1", "containerid", "shop", "web-0"});
  for (const char* text :
       {"container_cpu_usage_seconds_total{total} 12", "container_memory_usage_bytes{} 5000",
        "container_memory_working_set_bytes{} 2000",
        "container_memory_failures_total{pgfault,container} 7",
        "container_memory_failures_total{pgfault,hierarchy} 7", "container_threads{} 3",
        "container_threads_max{} 0", "container_pressure_cpu_waiting_seconds_total{} 2",
        "container_pressure_cpu_stalled_seconds_total{} 1",
        "container_fs_reads_bytes_total{4095:9} 512", "container_fs_reads_total{4095:9} 1",
        "container_blkio_device_usage_total{4095:9,4095,9,Read} 512",
        "container_hugetlb_usage_bytes{2MB} 4194304"}) {
    EXPECT_THAT(texts, Contains(text));
  }
  // What isn't known isn't shown as zero.
  for (const std::string& text : texts) {
    for (const char* unknown : {"container_memory_rss", "container_oom_events_total",
                                "container_pressure_io", "container_hugetlb_max"}) {
      EXPECT_FALSE(absl::StartsWith(text, unknown)) << text;
    }
  }
}

TEST_F(MetricSeriesTest, APodsNetwork) {
  MetricSeries::OfPod(pod_, "/kubepods/pod1", &metrics_)
      .AddNetwork({{.name = "eth0", .rx_bytes = 1, .tx_dropped = 2}});
  const auto texts = Texts({"", "/kubepods/pod1", "", "podid", "shop", "web-0"});
  EXPECT_EQ(texts.size(), 8u);
  EXPECT_THAT(texts, Contains("container_network_receive_bytes_total{eth0} 1"));
  EXPECT_THAT(texts, Contains("container_network_transmit_packets_dropped_total{eth0} 2"));
}

TEST_F(MetricSeriesTest, TheSpecification) {
  cri::LinuxContainerResources* resources = container_.mutable_resources();
  resources->set_cpu_quota(50000);
  resources->set_cpu_shares(512);
  resources->set_memory_limit_in_bytes(1 << 20);
  resources->set_memory_swap_limit_in_bytes(-1);
  (*resources->mutable_unified())["memory.min"] = "4096";
  MetricSeries::OfContainer(pod_, container_, &metrics_).AddSpec(container_);
  EXPECT_THAT(
      Texts(
          {"web", "/kubepods/pod1/containerid", "registry/web:1", "containerid", "shop", "web-0"}),
      ElementsAre("container_start_time_seconds{} 1700000000", "container_spec_cpu_period{} 100000",
                  "container_spec_cpu_quota{} 50000", "container_spec_cpu_shares{} 512",
                  "container_spec_memory_limit_bytes{} 1048576",
                  "container_spec_memory_swap_limit_bytes{} 0",
                  "container_spec_memory_reservation_limit_bytes{} 4096"));
}

TEST(MetricDescriptorsTest, EachIsThereOnceWithHelpAndLabels) {
  std::set<std::string> names;
  for (const cri::MetricDescriptor& descriptor : MetricDescriptors()) {
    EXPECT_TRUE(names.insert(descriptor.name()).second) << descriptor.name();
    EXPECT_FALSE(descriptor.help().empty());
    EXPECT_GE(descriptor.label_keys_size(), 6);
  }
}

TEST(MetricDescriptorsTest, TheDocumentNamesThemAllAndNoOthers) {
  const auto document = ReadFile("docs/statistics.md");
  ASSERT_TRUE(document.ok()) << document.status();
  std::set<std::string> documented, described;
  size_t at = 0;
  while ((at = document->find("`container_", at)) != std::string::npos) {
    const size_t end = document->find('`', ++at);
    documented.insert(document->substr(at, end - at));
  }
  for (const cri::MetricDescriptor& descriptor : MetricDescriptors()) {
    described.insert(descriptor.name());
  }
  EXPECT_EQ(documented, described);
}

TEST(CriUsageTest, WhatTheKernelDoesNotGiveIsNotSet) {
  const cri::MemoryUsage memory = MemoryUsageOf({.usage = 10, .inactive_file = 4}, 5);
  EXPECT_EQ(memory.timestamp(), 5);
  EXPECT_EQ(memory.working_set_bytes().value(), 6u);
  EXPECT_FALSE(memory.has_available_bytes());
  EXPECT_FALSE(memory.has_psi());
  EXPECT_FALSE(CpuUsageOf({.usage_ns = 1}, std::nullopt, 5).has_usage_nano_cores());
  EXPECT_FALSE(SwapUsageOf({.swap = 1}, 5).has_swap_available_bytes());
  EXPECT_EQ(SwapUsageOf({.swap = 3, .swap_limit = 10}, 5).swap_available_bytes().value(), 7u);
}

TEST(CriUsageTest, PressureInNanoseconds) {
  CpuUse cpu;
  cpu.pressure = Pressure{.some = {.avg10 = 1.5, .total_us = 7}, .full = {.total_us = 2}};
  const cri::CpuUsage usage = CpuUsageOf(cpu, 9, 5);
  EXPECT_EQ(usage.psi().some().total(), 7000u);
  EXPECT_DOUBLE_EQ(usage.psi().some().avg10(), 1.5);
  EXPECT_EQ(usage.psi().full().total(), 2000u);
  EXPECT_EQ(usage.usage_nano_cores().value(), 9u);
}

TEST(CriUsageTest, TheDefaultInterfaceIsEth0OrTheFirst) {
  const InterfaceCounters net1 = {.name = "net1", .rx_bytes = 1};
  const InterfaceCounters eth0 = {.name = "eth0", .rx_bytes = 2};
  EXPECT_EQ(NetworkUsageOf({net1, eth0}, 5).default_interface().name(), "eth0");
  EXPECT_EQ(NetworkUsageOf({net1}, 5).default_interface().name(), "net1");
  EXPECT_FALSE(NetworkUsageOf({}, 5).has_default_interface());
  EXPECT_EQ(NetworkUsageOf({net1, eth0}, 5).interfaces_size(), 2);
}

TEST(CriUsageTest, PartsAddUp) {
  CgroupStats a, b, sum;
  a.cpu.usage_ns = 1;
  a.memory.usage = 10;
  a.memory.limit = 100;
  b.cpu.usage_ns = 2;
  AddUp(a, &sum);
  AddUp(b, &sum);
  EXPECT_EQ(*sum.cpu.usage_ns, 3u);
  EXPECT_EQ(*sum.memory.usage, 10u);
  EXPECT_FALSE(sum.memory.limit.has_value());
  EXPECT_FALSE(sum.pids.current.has_value());
}

}  // namespace
}  // namespace berth
