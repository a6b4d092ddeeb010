// A container's program for tests: static, tells facts from inside as `key=value` lines, or misbehaves on
// demand.
//
//   guest facts [PATH...]    identity, namespaces, cwd, environment, capabilities; for each PATH its kind
//   guest eat MIB            touches that much memory
//   guest calls              what system calls that a default filter refuses answer
//   guest mount PATH         makes a tmpfs there, then sleeps
//   guest undo PATH...       tries to make mounts writable, their devices work, and to take them away
//   guest touch PATH...      makes files and shows them
//   guest scan MS            tries to take descriptors from processes that have not executed yet
//   guest clobber MS         tries to overwrite the supervisor's program by way of processes that run it
//   guest exit N | sleep | write TEXT... | split | flood N | grandchild | tree | fork-sleep | cat
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern char** environ;

static void print_file(const char* key, const char* path, const char* prefix) {
  char line[1024];
  FILE* f = fopen(path, "re");
  if (!f) {
    printf("%s=error %s\n", key, strerror(errno));
    return;
  }
  while (fgets(line, sizeof line, f)) {
    if (strncmp(line, prefix, strlen(prefix)) == 0) printf("%s=%s", key, line + strlen(prefix));
  }
  fclose(f);
}

static void print_link(const char* key, const char* path) {
  char target[512];
  const ssize_t n = readlink(path, target, sizeof target - 1);
  target[n > 0 ? n : 0] = 0;
  printf("%s=%s\n", key, target);
}

static void print_path(const char* path) {
  struct stat st;
  if (lstat(path, &st) != 0) {
    printf("path %s=error %s\n", path, strerror(errno));
    return;
  }
  const char* kind = S_ISDIR(st.st_mode)   ? "dir"
                     : S_ISCHR(st.st_mode) ? "chr"
                     : S_ISREG(st.st_mode) ? "file"
                                           : "other";
  struct statvfs fs;
  const int ro = statvfs(path, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0;
  char byte;
  const int fd = S_ISREG(st.st_mode) || S_ISCHR(st.st_mode)
                     ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
                     : -1;
  const long readable = fd >= 0 ? (long)read(fd, &byte, 1) : -1;
  printf("path %s=%s %s %o %u:%u read %ld\n", path, kind, ro ? "ro" : "rw", st.st_mode & 07777,
         st.st_uid, st.st_gid, readable);
}

static int facts(int argc, char** argv) {
  char text[1024];
  printf("pid=%d\nuid=%d %d\ngid=%d %d\n", getpid(), getuid(), geteuid(), getgid(), getegid());
  gid_t groups[64];
  const int n = getgroups(64, groups);
  printf("groups=");
  for (int i = 0; i < n; ++i) printf("%d ", groups[i]);
  printf("\ncwd=%s\n", getcwd(text, sizeof text));
  for (char** e = environ; *e; ++e) printf("env=%s\n", *e);
  gethostname(text, sizeof text);
  printf("hostname=%s\n", text);
  const char* kinds[] = {"mnt", "pid", "ipc", "uts", "net", "cgroup", "user"};
  for (int i = 0; i < 7; ++i) {
    char key[32], path[64];
    snprintf(key, sizeof key, "ns.%s", kinds[i]);
    snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
    print_link(key, path);
  }
  const char* caps[] = {"CapInh",     "CapPrm",  "CapEff", "CapBnd", "CapAmb",
                        "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn"};
  for (int i = 0; i < 9; ++i) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "%s:\t", caps[i]);
    print_file(caps[i], "/proc/self/status", prefix);
  }
  print_file("oom", "/proc/self/oom_score_adj", "");
  print_file("cgroup", "/proc/self/cgroup", "");
  print_file("nofile", "/proc/self/limits", "Max open files");
  print_file("mount", "/proc/self/mountinfo", "");
  print_file("uid_map", "/proc/self/uid_map", "");
  printf("umask=%o\n", umask(0));
  printf("tty=%d\n", isatty(0));
  for (int fd = 0; fd < 64; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) printf("fd=%d\n", fd);
  }
  const int out = open("/dev/stdout", O_WRONLY | O_CLOEXEC);
  printf("open /dev/stdout=%s\n", out >= 0 ? "ok" : strerror(errno));
  for (int i = 0; i < argc; ++i) print_path(argv[i]);
  return 0;
}

static long long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

// One look at a process that still runs the supervisor's program.
static void attack(int pid, int* seen, int* taken, int* privileged) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  ssize_t n = readlink(path, text, sizeof text - 1);
  if (n <= 0) return;
  text[n] = 0;
  if (!strstr(text, "keeper")) return;
  ++*seen;
  const int pidfd = syscall(SYS_pidfd_open, pid, 0);
  for (int fd = 3; pidfd >= 0 && fd < 64; ++fd) {
    const int got = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    if (got >= 0) ++*taken, close(got);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
    if (readlink(path, text, sizeof text) > 0) ++*taken;
  }
  if (pidfd >= 0) close(pidfd);
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
  if (fd >= 0) close(fd);
  text[n > 0 ? n : 0] = 0;
  const char* caps = strstr(text, "CapPrm:\t");
  if (caps && (strtoull(caps + 8, NULL, 16) & (1 << 21))) ++*privileged;  // CAP_SYS_ADMIN
}

// The program of a process, opened again for writing if it is the supervisor's.
static void overwrite(int pid, int* seen, int* written) {
  char path[64], text[256];
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(path, text, sizeof text - 1);
  text[n > 0 ? n : 0] = 0;
  const int modes[] = {O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC};
  if (strstr(text, "keeper")) {
    ++*seen;
    for (int i = 0; i < 3; ++i) {
      const int again = open(path, modes[i] | O_CLOEXEC);
      if (again < 0) continue;
      if (write(again, "#!", 2) == 2 || ftruncate(again, 0) == 0) ++*written;
      close(again);
    }
  }
  close(fd);
}

static int clobber(int ms) {
  int seen = 0, written = 0;
  const long long end = now_ms() + ms;
  printf("scanning\n");
  fflush(stdout);
  while (now_ms() < end) {
    DIR* dir = opendir("/proc");
    for (struct dirent* e; dir && (e = readdir(dir));) {
      const int pid = atoi(e->d_name);
      if (pid > 1) overwrite(pid, &seen, &written);
    }
    if (dir) closedir(dir);
  }
  printf("seen=%d\nwritten=%d\n", seen, written);
  return 0;
}

static int scan(int ms) {
  int seen = 0, taken = 0, privileged = 0;
  const long long end = now_ms() + ms;
  printf("scanning\n");
  fflush(stdout);
  while (now_ms() < end) {
    DIR* dir = opendir("/proc");
    for (struct dirent* e; dir && (e = readdir(dir));) {
      const int pid = atoi(e->d_name);
      if (pid > 1 && pid != getpid()) attack(pid, &seen, &taken, &privileged);
    }
    if (dir) closedir(dir);
  }
  printf("seen=%d\ntaken=%d\nprivileged=%d\n", seen, taken, privileged);
  return 0;
}

static void tell_call(const char* name, long result) {
  printf("%s=%s\n", name,
         result >= 0       ? "ok"
         : errno == EPERM  ? "EPERM"
         : errno == ENOSYS ? "ENOSYS"
                           : strerror(errno));
  fflush(stdout);
}

static int calls(void) {
  tell_call("getpid", syscall(SYS_getpid));
  tell_call("keyctl", syscall(SYS_keyctl, 0, -3, 0));
  tell_call("unshare", syscall(SYS_unshare, 0x10000000));  // CLONE_NEWUSER
  tell_call("clone3", syscall(435, NULL, 0));
  tell_call("unknown", syscall(9999));
  tell_call("x32 getpid", syscall(0x40000000 | SYS_getpid));
  tell_call("x32 keyctl", syscall(0x40000000 | SYS_keyctl, 0, -3, 0));
  return 0;
}

static int eat(long mib) {
  for (long i = 0; i < mib; ++i) {
    char* p = malloc(1 << 20);
    if (p) memset(p, 1, 1 << 20);
  }
  return 0;
}

static const char* outcome(int rc) { return rc == 0 ? "ok" : strerror(errno); }

static int undo(int argc, char** argv) {
  for (int i = 0; i < argc; ++i) {
    const char* path = argv[i];
    const unsigned long remount = MS_REMOUNT | MS_BIND | MS_RELATIME;
    printf("rw %s=%s\n", path, outcome(mount(NULL, path, NULL, remount, NULL)));
    printf("dev %s=%s\n", path, outcome(mount(NULL, path, NULL, remount | MS_RDONLY, NULL)));
    printf("gone %s=%s\n", path, outcome(umount2(path, MNT_DETACH)));
  }
  return 0;
}

static int touch(int argc, char** argv) {
  for (int i = 0; i < argc; ++i) {
    const int fd = open(argv[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) printf("touch %s=%s\n", argv[i], strerror(errno));
    if (fd >= 0) close(fd);
    print_path(argv[i]);
  }
  return 0;
}

static void put(const char* text) { (void)!write(1, text, strlen(text)); }

int main(int argc, char** argv) {
  const char* verb = argc > 1 ? argv[1] : "exit";
  if (strcmp(verb, "facts") == 0) return facts(argc - 2, argv + 2);
  if (strcmp(verb, "exit") == 0) return argc > 2 ? atoi(argv[2]) : 0;
  if (strcmp(verb, "eat") == 0) return eat(atol(argv[2]));
  if (strcmp(verb, "calls") == 0) return calls();
  if (strcmp(verb, "undo") == 0) return undo(argc - 2, argv + 2);
  if (strcmp(verb, "touch") == 0) return touch(argc - 2, argv + 2);
  if (strcmp(verb, "mount") == 0) {
    printf("mounted=%s\n", mount("none", argv[2], "tmpfs", 0, "") == 0 ? "ok" : strerror(errno));
    fflush(stdout);
    for (;;) pause();
  }
  if (strcmp(verb, "scan") == 0) return scan(atoi(argv[2]));
  if (strcmp(verb, "clobber") == 0) return clobber(atoi(argv[2]));
  if (strcmp(verb, "silent") == 0) {  // a daemon's way: its output is closed, it goes on
    close(1);
    close(2);
    for (;;) pause();
  }
  if (strcmp(verb, "sleep") == 0) {
    for (;;) pause();
  }
  if (strcmp(verb, "term") == 0) {  // ends at SIGTERM with 7
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    put("ready\n");
    siginfo_t info;
    sigwaitinfo(&set, &info);
    put("over\n");
    return 7;
  }
  if (strcmp(verb, "halves") == 0) {  // half a line, and at SIGTERM the other
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    put("half a ");
    siginfo_t info;
    sigwaitinfo(&set, &info);
    put("line\n");
    return 7;
  }
  if (strcmp(verb, "write") == 0) {
    for (int i = 2; i < argc; ++i) put(argv[i]);
    return 0;
  }
  if (strcmp(verb, "split") == 0) {  // lines in pieces, both streams, an end without newline
    put("one ");
    usleep(20000);
    put("line\n");
    usleep(20000);
    (void)!write(2, "error\n", 6);
    usleep(20000);
    put("last");
    return 3;
  }
  if (strcmp(verb, "flood") == 0) {
    const int n = atoi(argv[2]);
    for (int i = 0; i < n; ++i) {
      char line[64];
      snprintf(line, sizeof line, "line %d\n", i);
      put(line);
    }
    return 0;
  }
  if (strcmp(verb, "long") == 0) {
    char* line = malloc(40001);
    memset(line, 'x', 40000);
    line[40000] = '\n';
    (void)!write(1, line, 40001);
    return 0;
  }
  if (strcmp(verb, "grandchild") == 0) {  // leaves a process that holds the pipe
    if (fork() == 0) {
      setsid();
      for (;;) pause();
    }
    put("bye\n");
    return 0;
  }
  if (strcmp(verb, "tree") == 0) {  // a tree in several sessions that outlives its root
    for (int i = 0; i < 3; ++i) {
      if (fork() == 0) {
        setsid();
        if (fork() == 0) setsid();
        for (;;) pause();
      }
    }
    put("tree\n");
    for (;;) pause();
  }
  if (strcmp(verb, "procs") == 0) return system("exit 0");
  return 99;
}
