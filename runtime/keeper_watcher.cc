// Hearing from keepers: exits as they happen, and those that were missed.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"
#include "runtime/keeper/protocol.h"
#include "runtime/keeper_client.h"

namespace berth {
namespace {

ExitRecord ToExitRecord(const KeeperExit& e) {
  ExitRecord record;
  record.exit_code = static_cast<int>(e.exit_code);
  record.signal = static_cast<int>(e.signal);
  record.oom_killed = (e.flags & kExitOomKilled) != 0;
  record.started = (e.flags & kExitStarted) != 0;
  record.log_lost = (e.flags & kExitLogLost) != 0;
  record.started_at = absl::FromUnixNanos(e.started_ns);
  record.finished_at = absl::FromUnixNanos(e.finished_ns);
  return record;
}

bool EventIsValid(const KeeperEvent& event, ssize_t size) {
  return size == sizeof event && event.magic == kKeeperMagic;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KeeperWatcher>> KeeperWatcher::Start(KeeperObserver* observer) {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll.valid() || !wake.valid()) return ErrnoStatus("keeper watcher");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake.get();
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0)
    return ErrnoStatus("epoll_ctl");
  return std::unique_ptr<KeeperWatcher>(
      new KeeperWatcher(observer, std::move(epoll), std::move(wake)));
}

KeeperWatcher::KeeperWatcher(KeeperObserver* observer, UniqueFd epoll, UniqueFd wake)
    : observer_(observer),
      epoll_(std::move(epoll)),
      wake_(std::move(wake)),
      thread_([this] { Run(); }) {}

KeeperWatcher::~KeeperWatcher() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
  }
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
  thread_.join();
}

absl::Status KeeperWatcher::Watch(std::shared_ptr<Keeper> keeper) {
  MutexLock lock(&mu_);
  for (int fd : {keeper->control_.get(), keeper->pidfd()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoStatus("epoll_ctl");
    by_fd_[fd] = keeper;
  }
  return absl::OkStatus();
}

bool KeeperWatcher::Remove(const PodId& pod) {
  MutexLock lock(&mu_);
  bool found = false;
  for (auto it = by_fd_.begin(); it != by_fd_.end();) {
    if (it->second->pod() == pod) {
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->first, nullptr);
      by_fd_.erase(it++);
      found = true;
    } else {
      ++it;
    }
  }
  return found;
}

void KeeperWatcher::Unwatch(const PodId& pod) {
  Remove(pod);
  if (std::this_thread::get_id() == thread_.get_id()) return;
  MutexLock lock(&dispatch_mu_);  // a callback that runs has ended
}

// Each message is one event; whatever else comes is ignored.
void KeeperWatcher::Drain(const Keeper& keeper) {
  for (;;) {
    KeeperEvent event;
    const ssize_t n = recv(keeper.control_.get(), &event, sizeof event, MSG_DONTWAIT);
    if (n == 0) {  // the keeper's end is closed; its pidfd tells of its death
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, keeper.control_.get(), nullptr);
      return;
    }
    if (n < 0) return;
    if (!EventIsValid(event, n) || event.type != EventType::kExit) continue;
    if (!ExitIsValid(event.exit, sizeof event.exit)) continue;
    observer_->OnExit(keeper.pod(), ContainerId(event.exit.id), ToExitRecord(event.exit));
  }
}

void KeeperWatcher::Dispatch(int fd) {
  std::shared_ptr<Keeper> keeper;
  MutexLock dispatching(&dispatch_mu_);
  {
    MutexLock lock(&mu_);
    const auto it = by_fd_.find(fd);
    if (it == by_fd_.end()) return;
    keeper = it->second;
  }
  Drain(*keeper);
  if (fd != keeper->pidfd()) return;
  siginfo_t info{};
  waitid(P_PIDFD, static_cast<id_t>(fd), &info, WEXITED | WNOHANG);
  if (Remove(keeper->pod())) observer_->OnKeeperDeath(keeper->pod());
}

void KeeperWatcher::Run() {
  for (;;) {
    epoll_event events[32];
    const int n = epoll_wait(epoll_.get(), events, 32, -1);
    for (int i = 0; i < n; ++i) {
      {
        MutexLock lock(&mu_);
        if (stop_) return;
      }
      Dispatch(events[i].data.fd);
    }
  }
}

absl::StatusOr<std::vector<std::pair<ContainerId, ExitRecord>>> ReadExitRecords(
    const std::string& state_directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(state_directory));
  std::vector<std::pair<ContainerId, ExitRecord>> records;
  for (const std::string& name : names) {
    if (name.compare(0, strlen(kExitRecordPrefix), kExitRecordPrefix) != 0) continue;
    const absl::StatusOr<std::string> bytes =
        ReadFile(absl::StrCat(state_directory, "/", name), 4096);
    KeeperExit record;
    if (!bytes.ok() || bytes->size() != sizeof record) continue;
    std::memcpy(&record, bytes->data(), sizeof record);
    if (!ExitIsValid(record, sizeof record) || absl::StrCat(kExitRecordPrefix, record.id) != name)
      continue;
    records.emplace_back(ContainerId(record.id), ToExitRecord(record));
  }
  return records;
}

}  // namespace berth
