#include "runtime/cgroup_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/files.h"
#include "runtime/cgroup_files.h"

namespace berth {
namespace {

constexpr size_t kMostBytes = 256 << 10;

// Descriptors that all readers keep.
std::atomic<int> kept_descriptors{0};

// The sizes of huge pages that this kernel has, as cgroup files spell them: hugepages-2048kB → 2MB.
const std::vector<std::string>& HugePageSizes() {
  static const auto& sizes = *[] {
    auto* found = new std::vector<std::string>;
    const auto names = ListDirectory("/sys/kernel/mm/hugepages");
    if (!names.ok()) return found;
    for (absl::string_view name : *names) {
      uint64_t kib = 0;
      if (!absl::ConsumePrefix(&name, "hugepages-") || !absl::ConsumeSuffix(&name, "kB") ||
          !absl::SimpleAtoi(name, &kib)) {
        continue;
      }
      // As mem_fmt() of mm/hugetlb_cgroup.c.
      found->push_back(kib >= (1u << 20)   ? absl::StrCat(kib >> 20, "GB")
                       : kib >= (1u << 10) ? absl::StrCat(kib >> 10, "MB")
                                           : absl::StrCat(kib, "KB"));
    }
    return found;
  }();
  return sizes;
}

}  // namespace

CgroupReader::CgroupReader(const CgroupPlaces& places, std::string path)
    : places_(places), path_(std::move(path)) {}

CgroupReader::~CgroupReader() {
  MutexLock lock(&mu_);
  for (const auto& [file, fd] : kept_) {
    if (fd) kept_descriptors.fetch_sub(1, std::memory_order_relaxed);
  }
}

int CgroupReader::Budget() {
  static const int budget = [] {
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    return static_cast<int>(std::min<rlim_t>(limit.rlim_cur / 4, 1 << 20));
  }();
  return budget;
}

absl::string_view CgroupReader::ReadWhole(int fd) {
  size_t size = 0;
  buffer_.resize(std::max<size_t>(buffer_.capacity(), 4096));
  while (size < kMostBytes) {
    if (size == buffer_.size()) buffer_.resize(buffer_.size() * 2);
    const ssize_t n = pread(fd, &buffer_[size], buffer_.size() - size, static_cast<off_t>(size));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return "";  // ENODEV: removed
    if (n == 0) break;
    size += static_cast<size_t>(n);
    // The kernel writes these files whole into a buffer that has room.
    if (size < buffer_.size()) break;
  }
  return absl::string_view(buffer_.data(), size);
}

absl::string_view CgroupReader::Read(const CgroupPlaces::Place& place, const char* file) {
  if (place.root < 0) return "";
  if (const auto kept = kept_.find(file); kept != kept_.end()) {
    return kept->second ? ReadWhole(kept->second.get()) : "";
  }
  UniqueFd fd(openat(place.root, CgroupFile(path_, file).c_str(), O_RDONLY | O_CLOEXEC));
  // Out of descriptors says nothing of the file.
  if (!fd && (errno == EMFILE || errno == ENFILE)) return "";
  if (!fd) {
    // A cgroup that lacks a file lacks it for ever; one that isn't there may be made yet.
    if (faccessat(place.root, CgroupFile(path_, "").c_str(), F_OK, 0) == 0) kept_[file];
    return "";
  }
  const absl::string_view text = ReadWhole(fd.get());
  if (kept_descriptors.fetch_add(1, std::memory_order_relaxed) < Budget()) {
    kept_[file] = std::move(fd);
  } else {
    kept_descriptors.fetch_sub(1, std::memory_order_relaxed);
  }
  return text;
}

Count CgroupReader::ReadNumber(const CgroupPlaces::Place& place, const char* file) {
  return cgroup_stats::ParseNumber(Read(place, file));
}

CgroupStats CgroupReader::ReadMain() {
  MutexLock lock(&mu_);
  CgroupStats stats;
  ReadCpu(&stats.cpu);
  if (places_.memory.v2) {
    ReadMemory(&stats.memory);
  } else {
    ReadLegacyMemory(&stats.memory);
  }
  stats.pids.current = ReadNumber(places_.pids, "pids.current");
  const CgroupPlaces::Place& v2 = places_.pressure;
  stats.cpu.pressure = cgroup_stats::ParsePressure(Read(v2, "cpu.pressure"));
  stats.memory.pressure = cgroup_stats::ParsePressure(Read(v2, "memory.pressure"));
  stats.io.pressure = cgroup_stats::ParsePressure(Read(v2, "io.pressure"));
  return stats;
}

void CgroupReader::AddRest(CgroupStats* stats) {
  MutexLock lock(&mu_);
  if (!places_.cpuacct.v2) {
    stats->cpu.user_ns = ReadNumber(places_.cpuacct, "cpuacct.usage_user");
    stats->cpu.system_ns = ReadNumber(places_.cpuacct, "cpuacct.usage_sys");
  }
  if (!places_.cpu.v2) {
    cgroup_stats::ParseLegacyCpuStat(Read(places_.cpu, "cpu.stat"), &stats->cpu);
  }
  AddMemoryRest(&stats->memory);
  stats->pids.limit = ReadNumber(places_.pids, "pids.max");
  AddIo(&stats->io);
  AddHugetlb(&stats->hugetlb);
}

void CgroupReader::ReadCpu(CpuUse* cpu) {
  if (places_.cpuacct.v2) {
    cgroup_stats::ParseCpuStat(Read(places_.cpuacct, "cpu.stat"), cpu);
  } else {
    cpu->usage_ns = ReadNumber(places_.cpuacct, "cpuacct.usage");
  }
}

void CgroupReader::ReadMemory(MemoryUse* memory) {
  const CgroupPlaces::Place& place = places_.memory;
  memory->usage = ReadNumber(place, "memory.current");
  memory->limit = ReadNumber(place, "memory.max");
  cgroup_stats::ParseMemoryStat(Read(place, "memory.stat"), memory);
  memory->swap = ReadNumber(place, "memory.swap.current");
  memory->swap_limit = ReadNumber(place, "memory.swap.max");
}

void CgroupReader::ReadLegacyMemory(MemoryUse* memory) {
  const CgroupPlaces::Place& place = places_.memory;
  memory->usage = ReadNumber(place, "memory.usage_in_bytes");
  memory->limit = ReadNumber(place, "memory.limit_in_bytes");
  cgroup_stats::ParseLegacyMemoryStat(Read(place, "memory.stat"), memory);
  // v1 counts and limits memory and swap together; the two are read one after the other.
  const Count both = ReadNumber(place, "memory.memsw.usage_in_bytes");
  if (both.has_value() && memory->usage.has_value()) {
    memory->swap = *both - std::min(*both, *memory->usage);
  }
  const Count both_limit = ReadNumber(place, "memory.memsw.limit_in_bytes");
  if (both_limit.has_value() && memory->limit.has_value()) {
    memory->swap_limit = *both_limit - std::min(*both_limit, *memory->limit);
  }
}

void CgroupReader::AddMemoryRest(MemoryUse* memory) {
  const CgroupPlaces::Place& place = places_.memory;
  if (place.v2) {
    const std::string events(Read(place, "memory.events"));
    memory->limit_hits = CgroupKeyedValue(events, "max");
    memory->oom_kills = CgroupKeyedValue(events, "oom_kill");
    memory->max_usage = ReadNumber(place, "memory.peak");
    return;
  }
  memory->limit_hits = ReadNumber(place, "memory.failcnt");
  memory->oom_kills = CgroupKeyedValue(Read(place, "memory.oom_control"), "oom_kill");
  memory->max_usage = ReadNumber(place, "memory.max_usage_in_bytes");
  memory->kernel = ReadNumber(place, "memory.kmem.usage_in_bytes");
}

void CgroupReader::AddIo(IoUse* io) {
  if (places_.io.v2) {
    io->devices = cgroup_stats::ParseIoStat(Read(places_.io, "io.stat"));
    return;
  }
  // BFQ counts by itself, and only where it is a device's scheduler.
  for (const char* policy : {"blkio.bfq", "blkio.throttle"}) {
    const std::string bytes(
        Read(places_.io, absl::StrCat(policy, ".io_service_bytes_recursive").c_str()));
    io->devices = cgroup_stats::ParseLegacyIo(
        bytes, Read(places_.io, absl::StrCat(policy, ".io_serviced_recursive").c_str()));
    if (!io->devices.empty()) return;
  }
}

void CgroupReader::AddHugetlb(std::vector<HugetlbUse>* hugetlb) {
  const bool v2 = places_.hugetlb.v2;
  for (const std::string& size : HugePageSizes()) {
    const std::string prefix = absl::StrCat("hugetlb.", size, ".");
    HugetlbUse use;
    use.page_size = size;
    use.usage = ReadNumber(places_.hugetlb,
                           absl::StrCat(prefix, v2 ? "current" : "usage_in_bytes").c_str());
    if (!use.usage.has_value()) continue;
    if (!v2) {
      use.max_usage =
          ReadNumber(places_.hugetlb, absl::StrCat(prefix, "max_usage_in_bytes").c_str());
    }
    hugetlb->push_back(std::move(use));
  }
}

}  // namespace berth
