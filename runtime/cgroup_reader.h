// Reads a cgroup's statistics from descriptors that stay open, so that each reading costs one
// pread(2) a file.
//
// Vocabulary: the *main* statistics are what CRI's stats want at each List (cpu, memory, swap,
// pressure, number of tasks); the *rest* is what only metrics want (throttling, I/O, huge pages, OOM
// kills, …).
//
//   auto reader = host.NewReader("/kubepods/pod1/0123…");   // opens nothing yet
//   CgroupStats stats = reader->ReadMain();
//   reader->AddRest(&stats);
//
// A file is opened at its first reading and kept, as long as all readers together keep at most
// CgroupReader::Budget() descriptors; beyond it files are opened and closed each time. A descriptor
// of a cgroup that was removed answers ENODEV: its values are absent from then on, also if a new
// cgroup takes the name: make a new reader for it.
//
// Threads: any thread may call; readings of one reader take turns.
#ifndef BERTH_RUNTIME_CGROUP_READER_H_
#define BERTH_RUNTIME_CGROUP_READER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "runtime/cgroup_stats.h"

namespace berth {

// Where a cgroup's controllers lie; roots are borrowed from the CgroupHost. -1: not on this host.
struct CgroupPlaces {
  struct Place {
    int root = -1;
    bool v2 = false;
  };
  Place cpu, cpuacct, memory, pids, io, hugetlb;
  Place pressure;  // the v2 tree, mounted whole or hybrid: it has pressure files for every cgroup
};

class CgroupReader {
 public:
  CgroupReader(const CgroupPlaces& places, std::string path);
  ~CgroupReader();
  CgroupReader(const CgroupReader&) = delete;
  CgroupReader& operator=(const CgroupReader&) = delete;

  CgroupStats ReadMain();
  void AddRest(CgroupStats* stats);

  // How many descriptors all readers may keep: a quarter of RLIMIT_NOFILE when first asked.
  static int Budget();

 private:
  // What a file holds, or nothing. Its text is valid until the next call.
  absl::string_view Read(const CgroupPlaces::Place& place, const char* file)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Count ReadNumber(const CgroupPlaces::Place& place, const char* file)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::string_view ReadWhole(int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReadCpu(CpuUse* cpu) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReadMemory(MemoryUse* memory) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReadLegacyMemory(MemoryUse* memory) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddMemoryRest(MemoryUse* memory) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddIo(IoUse* io) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddHugetlb(std::vector<HugetlbUse>* hugetlb) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const CgroupPlaces places_;
  const std::string path_;
  Mutex mu_;
  // By the file's name, which is unique among the hierarchies. An invalid one is not there.
  std::map<std::string, UniqueFd, std::less<>> kept_ ABSL_GUARDED_BY(mu_);
  std::string buffer_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_RUNTIME_CGROUP_READER_H_
