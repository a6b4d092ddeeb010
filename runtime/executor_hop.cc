#include "runtime/executor_hop.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "runtime/executor_sys.h"

namespace berth {
namespace {

constexpr size_t kPageSize = 4096;

// Shared by leader and ferry.
struct LeaderPage {
  int32_t pid;  // of the passenger, by CLONE_PARENT_SETTID
};

}  // namespace

// Shared by all three.
struct HopPage {
  uint32_t gate;
  uint32_t alive;  // a robust futex of the passenger's
  Failure failure;
  struct robust_list entry;
  struct robust_list_head head;
};

namespace {

struct Pages {
  alignas(kPageSize) char leader[kPageSize];
  alignas(kPageSize) char shared[kPageSize];
};

LeaderPage* LeaderOf(HopPage* page) {
  return reinterpret_cast<LeaderPage*>(reinterpret_cast<char*>(page) - kPageSize);
}

long Futex(uint32_t* word, int operation, uint32_t value, long milliseconds) {
  const struct timespec timeout = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  return syscall(__NR_futex, word, operation, value, milliseconds ? &timeout : nullptr, nullptr, 0);
}

// clone(2), since filters that let a container fork may refuse clone3. The child's parent is ours.
long CloneSibling(unsigned long flags, int32_t* pid) {
  return syscall(__NR_clone, flags | CLONE_PARENT | SIGCHLD, nullptr, pid, nullptr, nullptr);
}

bool HasEnded(int pidfd) {
  struct pollfd p = {pidfd, POLLIN, 0};
  return poll(&p, 1, 0) != 0;
}

void ReportPassenger(const ExecutorContext& c, int pid, int pidfd) {
  ExecutorReport report;
  report.kind = static_cast<uint32_t>(ReportKind::kHopped);
  report.failure = {};
  report.pid = pid;
  report.uid = report.gid = report.group_count = 0;
  if (!SendReport(c.status, report, pidfd)) _exit(127);
}

[[noreturn]] void Lead(ExecutorContext& c, HopPage* page) {
  const int pid = LeaderOf(page)->pid;
  if (pid <= 0) {
    if (page->failure.step != 0)
      Fail(c, static_cast<Step>(page->failure.step), page->failure.index, page->failure.error);
    _exit(127);  // the ferry said why
  }
  const int pidfd = static_cast<int>(syscall(__NR_pidfd_open, pid, 0));
  if (pidfd < 0) Fail(c, Step::kHop, 3);
  ReportPassenger(c, pid, pidfd);
  __atomic_store_n(&page->gate, 1, __ATOMIC_RELEASE);
  Futex(&page->gate, FUTEX_WAKE, 1, 0);
  for (;;) {
    const uint32_t now = __atomic_load_n(&page->alive, __ATOMIC_ACQUIRE);
    if ((now & FUTEX_OWNER_DIED) != 0) break;
    Futex(&page->alive, FUTEX_WAIT, now, 50);
    if (HasEnded(pidfd)) break;  // perhaps before it had its robust list
  }
  if (page->failure.step != 0)
    Fail(c, static_cast<Step>(page->failure.step), page->failure.index, page->failure.error);
  _exit(0);
}

// Marks page->alive when this address space goes: at execve or death. "Owned" by the thread as it is known
// inside (kernel: handle_futex_death compares task_pid_vnr).
void LockAlive(HopPage* page) {
  page->entry.next = &page->head.list;
  page->head.list.next = &page->entry;
  page->head.futex_offset =
      reinterpret_cast<char*>(&page->alive) - reinterpret_cast<char*>(&page->entry);
  page->head.list_op_pending = nullptr;
  __atomic_store_n(&page->alive, static_cast<uint32_t>(syscall(__NR_gettid)) | FUTEX_WAITERS,
                   __ATOMIC_RELEASE);
  syscall(__NR_set_robust_list, &page->head, sizeof page->head);
}

}  // namespace

void FailInPage(HopPage* page, const Failure& failure) { page->failure = failure; }

void StartFerry(ExecutorContext& c) {
  void* map =
      mmap(nullptr, sizeof(Pages), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) Fail(c, Step::kHop);
  HopPage* page = reinterpret_cast<HopPage*>(static_cast<Pages*>(map)->shared);
  // CLONE_VFORK without CLONE_VM: the leader sleeps until the ferry has ended.
  const long pid = CloneSibling(CLONE_VFORK, nullptr);
  if (pid < 0) Fail(c, Step::kHop, 1);
  if (pid != 0) Lead(c, page);
  c.page = page;
  if (sys::SetNs(c.input.target, CLONE_NEWPID) != 0) Fail(c, Step::kHop, 2);
}

void BecomePassenger(ExecutorContext& c) {
  LeaderPage* leader = LeaderOf(c.page);
  sys::CloseRange(3, ~0u, 0);
  c.status = -1;  // Fail goes through the page now
  if (madvise(leader, kPageSize, MADV_DONTFORK) != 0) Fail(c, Step::kHop, 4);
  const long pid = CloneSibling(CLONE_PARENT_SETTID, &leader->pid);
  if (pid < 0) Fail(c, Step::kHop, 5);
  if (pid != 0) _exit(0);
  LockAlive(c.page);
  // The leader opens the gate at once, or has been killed.
  while (__atomic_load_n(&c.page->gate, __ATOMIC_ACQUIRE) == 0) {
    if (Futex(&c.page->gate, FUTEX_WAIT, 0, 10000) != 0 && errno == ETIMEDOUT) _exit(127);
  }
}

}  // namespace berth
