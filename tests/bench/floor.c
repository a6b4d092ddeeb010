// floor: what a container start and an exec cost in bare system calls, the least that any runtime
// can take on this machine. It is C, static, single-threaded, and does nothing but the calls below.
//
//   start      clone with mount, PID, IPC, UTS and cgroup namespaces; make / a slave; overlay of
//   two
//              lowers with an upper; proc; a tmpfs dev with six nodes; devpts; shm; mqueue; sysfs;
//              two bind mounts; pivot_root; no_new_privs; a seccomp filter of 300 instructions;
//              execve of a static busybox `true`; wait. No cgroup directories.
//   start-net  the same with a network namespace.
//   exec       join the PID namespace, fork, join the other five namespaces of a running container
//   by
//              its pidfd, execve of busybox `true`, wait.
//
// Usage: floor [-n RUNS] [-d DIR] [-b BUSYBOX]. DIR (default /var/tmp) has to be on a file system
// that can hold an overlay's upper. Prints one line per variant: NAME p50 p90 p99 RUNS, in
// microseconds.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#define AUDIT_ARCH_HERE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define AUDIT_ARCH_HERE AUDIT_ARCH_AARCH64
#else
#error "name this architecture's AUDIT_ARCH constant"
#endif

enum { kFilterLength = 300, kRunMax = 100000 };

static char g_dir[4096];      // holds lower1, lower2, bind1, bind2, root and the uppers
static char g_overlay[4096];  // the options of the present run's overlay
static struct sock_filter g_filter[kFilterLength];

static void Die(const char* what) {
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

// In the container's process: no message gets out, the step is the exit code.
#define CHECK_STEP(step, expr)     \
  do {                             \
    if ((expr) < 0) _exit((step)); \
  } while (0)

static uint64_t Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// Check of the architecture, 296 comparisons with system call numbers that don't exist, allow.
static void MakeFilter(void) {
  int n = 0;
  g_filter[n++] =
      (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
  g_filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_HERE, 0, 0);
  g_filter[n++] =
      (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  while (n < kFilterLength - 1) {
    g_filter[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 5000 + n, 0, 0);
    n++;
  }
  g_filter[n] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
}

static void MakeDevices(void) {
  static const struct {
    const char* path;
    unsigned major, minor;
  } nodes[] = {{"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
               {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
  for (unsigned i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
    CHECK_STEP(20, mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
  }
}

static void MakeMounts(void) {
  CHECK_STEP(1, mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
  CHECK_STEP(2, chdir(g_dir));
  CHECK_STEP(3, mount("overlay", "root", "overlay", MS_NODEV, g_overlay));
  CHECK_STEP(4, chdir("root"));
  CHECK_STEP(5, mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
  CHECK_STEP(6, mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=64k"));
  MakeDevices();
  CHECK_STEP(7, mkdir("dev/pts", 0755) | mkdir("dev/shm", 01777) | mkdir("dev/mqueue", 01777));
  CHECK_STEP(8, mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                      "newinstance,ptmxmode=0666,mode=0620"));
  CHECK_STEP(
      9, mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=64m"));
  CHECK_STEP(10, mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL));
  CHECK_STEP(11,
             mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL));
  CHECK_STEP(12, mount("../bind1", "etc/hosts", NULL, MS_BIND, NULL));
  CHECK_STEP(13, mount("../bind2", "etc/resolv.conf", NULL, MS_BIND, NULL));
  CHECK_STEP(14, syscall(SYS_pivot_root, ".", "."));
  CHECK_STEP(15, umount2(".", MNT_DETACH));
  CHECK_STEP(16, chdir("/"));
}

static void Run(char* const argv[]) {
  char* envp[] = {"PATH=/bin", NULL};
  struct sock_fprog program = {kFilterLength, g_filter};
  CHECK_STEP(17, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  CHECK_STEP(18, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
  execve("/bin/busybox", argv, envp);
  _exit(19);
}

static pid_t StartContainer(unsigned long namespaces, char* const argv[]) {
  pid_t pid = (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0);
  if (pid < 0) Die("clone");
  if (pid > 0) return pid;
  MakeMounts();
  Run(argv);
  return 0;
}

static void WaitFor(pid_t pid, const char* what) {
  int status;
  if (waitpid(pid, &status, 0) != pid) Die("waitpid");
  if (status == 0) return;
  fprintf(stderr, "floor: %s ended with status %#x (an exit code is the step in floor.c)\n", what,
          status);
  exit(1);
}

// The writable layer of run `i`: made before the clock runs, as the floor counts no image store.
static void MakeUpper(int i) {
  char upper[4200], work[4200];
  snprintf(upper, sizeof upper, "%s/up%d", g_dir, i);
  snprintf(work, sizeof work, "%s/work%d", g_dir, i);
  if (mkdir(upper, 0755) || mkdir(work, 0755)) Die(upper);
  snprintf(g_overlay, sizeof g_overlay, "lowerdir=lower2:lower1,upperdir=up%d,workdir=work%d", i,
           i);
}

static void RemoveUpper(int i) {
  char path[4200];
  snprintf(path, sizeof path, "%s/work%d/work", g_dir, i);
  rmdir(path);
  snprintf(path, sizeof path, "%s/work%d", g_dir, i);
  rmdir(path);
  snprintf(path, sizeof path, "%s/up%d", g_dir, i);
  if (rmdir(path)) Die(path);
}

static int Compare(const void* a, const void* b) {
  const uint64_t x = *(const uint64_t*)a, y = *(const uint64_t*)b;
  return x < y ? -1 : x > y;
}

static void Print(const char* name, uint64_t* ns, int runs) {
  qsort(ns, runs, sizeof *ns, Compare);
  printf("%s\t%.1f\t%.1f\t%.1f\t%d\n", name, ns[runs / 2] / 1e3, ns[runs * 9 / 10] / 1e3,
         ns[runs * 99 / 100] / 1e3, runs);
}

static const unsigned long kNamespaces =
    CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

static void MeasureStart(const char* name, unsigned long namespaces, uint64_t* ns, int runs) {
  char* const argv[] = {"true", NULL};
  for (int i = -5; i < runs; i++) {  // five to warm up
    MakeUpper(i + 5);
    const uint64_t begin = Now();
    WaitFor(StartContainer(namespaces, argv), name);
    if (i >= 0) ns[i] = Now() - begin;
    RemoveUpper(i + 5);
  }
  Print(name, ns, runs);
}

static void ExecOnce(int pidfd, int own_pid_namespace, const char* name) {
  char* const argv[] = {"true", NULL};
  char* envp[] = {"PATH=/bin", NULL};
  if (setns(pidfd, CLONE_NEWPID)) Die("setns into the container's PID namespace");
  const pid_t pid = fork();
  if (pid < 0) Die("fork");
  if (pid == 0) {
    CHECK_STEP(1, setns(pidfd, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                                   CLONE_NEWNET));
    execve("/bin/busybox", argv, envp);
    _exit(19);
  }
  if (setns(own_pid_namespace, CLONE_NEWPID)) Die("setns back");
  WaitFor(pid, name);
}

static void MeasureExec(const char* name, uint64_t* ns, int runs) {
  char* const argv[] = {"sleep", "1000", NULL};
  MakeUpper(0);
  const pid_t container = StartContainer(kNamespaces | CLONE_NEWNET, argv);
  const int pidfd = (int)syscall(SYS_pidfd_open, container, 0);
  const int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
  if (pidfd < 0 || own < 0) Die("pidfd_open");
  // The container is there when its executable is busybox: its root is then in place.
  char link[64], exe[4096];
  snprintf(link, sizeof link, "/proc/%d/exe", container);
  for (ssize_t n = 0; n < 12 || strcmp(exe + n - 12, "/bin/busybox");) {
    n = readlink(link, exe, sizeof exe - 1);
    if (n < 0) Die(link);
    exe[n] = 0;
    usleep(1000);
  }
  for (int i = -5; i < runs; i++) {
    const uint64_t begin = Now();
    ExecOnce(pidfd, own, name);
    if (i >= 0) ns[i] = Now() - begin;
  }
  kill(container, SIGKILL);
  waitpid(container, NULL, 0);
  RemoveUpper(0);
  Print(name, ns, runs);
}

static void Shell(const char* format, const char* a, const char* b) {
  char command[9000];
  snprintf(command, sizeof command, format, a, b);
  if (system(command)) Die(command);
}

int main(int argc, char** argv) {
  int runs = 200, option;
  const char *base = "/var/tmp", *busybox = "/bin/busybox";
  while ((option = getopt(argc, argv, "n:d:b:")) != -1) {
    if (option == 'n')
      runs = atoi(optarg);
    else if (option == 'd')
      base = optarg;
    else if (option == 'b')
      busybox = optarg;
    else
      return 2;
  }
  if (runs < 1 || runs > kRunMax) {
    fprintf(stderr, "floor: -n has to be 1 to %d\n", kRunMax);
    return 2;
  }
  snprintf(g_dir, sizeof g_dir, "%s/berth-floor.XXXXXX", base);
  if (!mkdtemp(g_dir)) Die(g_dir);
  Shell(
      "cd %s && mkdir -p lower1/bin lower2/proc lower2/sys lower2/dev lower2/etc root && touch "
      "bind1 "
      "bind2 lower2/etc/hosts lower2/etc/resolv.conf && cp %s lower1/bin/busybox",
      g_dir, busybox);
  MakeFilter();
  uint64_t* ns = calloc((size_t)runs, sizeof *ns);
  MeasureStart("start", kNamespaces, ns, runs);
  MeasureStart("start-net", kNamespaces | CLONE_NEWNET, ns, runs);
  MeasureExec("exec", ns, runs);
  free(ns);
  Shell("rm -rf --one-file-system %s", g_dir, "");
  return 0;
}
