// The executor's terminal.
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>

#include "runtime/executor_context.h"
#include "runtime/executor_paths.h"
#include "runtime/executor_sys.h"
#include "runtime/executor_text.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

namespace berth {
namespace {

// The container's devpts as an exec finds it at /dev/pts: it must be one.
int FindDevpts() {
  const int fd = sys::Open("/dev/pts", O_PATH | O_DIRECTORY);
  struct statfs fs;
  if (fd >= 0 && (fstatfs(fd, &fs) != 0 || fs.f_type != DEVPTS_SUPER_MAGIC)) {
    close(fd);
    errno = ENOTTY;
    return -1;
  }
  return fd;
}

bool SendTerminal(const ExecutorContext& c, int master) {
  ExecutorReport report;
  memset(&report, 0, offsetof(ExecutorReport, groups));
  report.kind = static_cast<uint32_t>(ReportKind::kTerminal);
  return SendReport(c.status, report, master);
}

void AttachConsole(ExecutorContext& c, unsigned number) {
  const int target = OpenTarget(c, "/dev/console", Make::kFile);
  char name[12];
  AppendNumber(name, number);
  // A link of an image's making leads nothing into /proc (CVE-2025-52565).
  struct statfs fs;
  if (target >= 0 && (fstatfs(target, &fs) != 0 || fs.f_type == PROC_SUPER_MAGIC))
    Fail(c, Step::kTerminal, 9, EPERM);
  const int slave = target < 0 ? -1 : sys::OpenTree(c.devpts, name, OPEN_TREE_CLONE);
  if (slave < 0 || sys::MoveMount(slave, target, "") != 0) Fail(c, Step::kTerminal, 5);
  close(slave);
  close(target);
}

}  // namespace

void MakeConsole(ExecutorContext& c) {
  const int target = OpenTarget(c, "/dev/console", Make::kFile);
  if (target < 0) Fail(c, Step::kTerminal, 8);
  close(target);
}

// The terminal is one of the container's own devpts, so /dev/pts/N exists for it inside; the master goes to
// the supervisor.
void OpenTerminal(ExecutorContext& c, bool attach_console) {
  if (c.devpts < 0) c.devpts = FindDevpts();
  if (c.devpts < 0) Fail(c, Step::kTerminal);
  const int master = openat(c.devpts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  struct stat st;
  // 5:2 is ptmx (Documentation/admin-guide/devices.txt).
  if (master < 0 || fstat(master, &st) != 0) Fail(c, Step::kTerminal, 1);
  if (st.st_rdev != makedev(5, 2)) Fail(c, Step::kTerminal, 1, ENOTTY);
  int unlock = 0;
  unsigned number = 0;
  if (ioctl(master, TIOCSPTLCK, &unlock) != 0 || ioctl(master, TIOCGPTN, &number) != 0)
    Fail(c, Step::kTerminal, 2);
  const int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) Fail(c, Step::kTerminal, 3);
  if (c.plan.console_rows != 0) {
    struct winsize size = {};
    size.ws_row = static_cast<unsigned short>(c.plan.console_rows);
    size.ws_col = static_cast<unsigned short>(c.plan.console_columns);
    ioctl(master, TIOCSWINSZ, &size);
  }
  if (attach_console) AttachConsole(c, number);
  if (!SendTerminal(c, master)) Fail(c, Step::kTerminal, 4);
  close(master);
  for (int i = 0; i < 3; ++i) {
    if (dup2(slave, i) < 0) Fail(c, Step::kTerminal, 6);
  }
  close(slave);
}

}  // namespace berth
