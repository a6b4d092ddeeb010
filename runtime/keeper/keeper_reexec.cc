// Another program in the same process: pid, children and descriptors stay.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/executor_sys.h"
#include "runtime/keeper/keeper.h"

namespace berth::keeper {
namespace {

// What a program says of the State that it can go on with, for its predecessor, which looks into its file: after
// the execve it would be too late to refuse.
struct Layout {
  char mark[24];
  uint32_t version;
  uint32_t size;
};
const Layout kLayout = {"berth-keeper's state is", kStateVersion, sizeof(State)};

// 0, or the errno to answer with.
int CheckLayout(int program) {
  struct stat st;
  if (fstat(program, &st) != 0) return errno;
  const size_t size = static_cast<size_t>(st.st_size);
  void* file = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, program, 0);
  if (file == MAP_FAILED) return errno;
  const bool same = memmem(file, size, &kLayout, sizeof kLayout) != nullptr;
  munmap(file, size);
  return same ? 0 : EPROTONOSUPPORT;
}

template <typename Function>
void EachDescriptor(Function f) {
  int* const each3[] = {&state.state_dir,      &state.mount_namespace, &state.own_pidns,
                        &state.pod_init_pidfd, &state.listener,        &state.writer_timer,
                        &state.writer_shared,  &state.user_namespace};
  for (int* fd : each3) {
    f(*fd);
  }
  for (int& fd : state.controls) f(fd);
  for (Writer& writer : state.writers) f(writer.socket);
  for (uint32_t i = 0; i < state.container_top; ++i) {
    Container& c = state.containers[i];
    if (c.phase == Phase::kFree) continue;
    int* const each4[] = {&c.pidfd, &c.status, &c.reply, &c.plan, &c.log, &c.out, &c.err, &c.in};
    for (int* fd : each4) f(*fd);
  }
  for (uint32_t i = 0; i < state.exec_top; ++i) {
    Exec& e = state.execs[i];
    if (e.pid == 0) continue;
    int* const each5[] = {&e.pidfd, &e.status, &e.reply, &e.plan, &e.terminal};
    for (int* fd : each5) f(*fd);
  }
}

void SetCloexec(bool on) {
  EachDescriptor([on](int fd) {
    if (fd >= 0) fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0);
  });
}

bool WriteAll(int fd, const void* data, size_t size) {
  return size == 0 || write(fd, data, size) == static_cast<ssize_t>(size);
}

// The state and the reply socket's number.
int SaveState(int reply) {
  const int fd = memfd_create("berth-keeper-state", 0);
  if (fd < 0) return -1;
  state.magic = kKeeperMagic;
  state.version = kStateVersion;
  state.size = sizeof state;
  const bool good = WriteAll(fd, &state, sizeof state) && WriteAll(fd, &reply, sizeof reply);
  if (good && lseek(fd, 0, SEEK_SET) == 0) return fd;
  close(fd);
  return -1;
}

bool ReadAll(int fd, void* data, size_t size) {
  return size == 0 || read(fd, data, size) == static_cast<ssize_t>(size);
}

}  // namespace

void OnReexec(Fds& fds, int program) {
  if (const int error = CheckLayout(program); error != 0) {
    Close(program);
    return Answer(fds.reply(), error);
  }
  int saved = SaveState(fds.reply());
  if (saved < 0) {
    Answer(fds.reply(), errno);
    Close(program);
    return;
  }
  SetCloexec(false);
  fcntl(fds.reply(), F_SETFD, 0);
  char number[12];
  char* digit = number + sizeof number - 1;
  *digit = 0;
  for (int n = saved; n > 0; n /= 10) *--digit = static_cast<char>('0' + n % 10);
  const char* argv[] = {"berth-keeper", "--resume", digit, nullptr};
  const char* envp[] = {nullptr};
  syscall(__NR_execveat, program, "", argv, envp, AT_EMPTY_PATH);
  const int error = errno;
  SetCloexec(true);
  Close(saved);
  Close(program);
  Answer(fds.reply(), error);
}

bool RestoreState(int fd, int* reply) {
  if (!ReadAll(fd, &state, sizeof state) || state.magic != kKeeperMagic ||
      state.version != kStateVersion || state.size != sizeof state ||
      !ReadAll(fd, reply, sizeof *reply)) {
    return false;
  }
  close(fd);
  SetCloexec(true);
  return true;
}

}  // namespace berth::keeper
