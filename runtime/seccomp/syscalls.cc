#include "runtime/seccomp/syscalls.h"

#include <linux/audit.h>
#include <seccomp.h>

#include "absl/container/flat_hash_map.h"
#include "runtime/seccomp/profile.h"

namespace berth {
namespace {

// From Linux 5.1 on a new call has one number everywhere (scripts/syscall.tbl).
const absl::flat_hash_map<std::string, uint32_t>& NewCalls() {
  static const auto& calls = *new absl::flat_hash_map<std::string, uint32_t>{
      {"cachestat", 451},         {"fchmodat2", 452},        {"map_shadow_stack", 453},
      {"futex_wake", 454},        {"futex_wait", 455},       {"futex_requeue", 456},
      {"statmount", 457},         {"listmount", 458},        {"lsm_get_self_attr", 459},
      {"lsm_set_self_attr", 460}, {"lsm_list_modules", 461}, {"mseal", 462},
      {"setxattrat", 463},        {"getxattrat", 464},       {"listxattrat", 465},
      {"removexattrat", 466},     {"open_tree_attr", 467},   {"file_getattr", 468},
      {"file_setattr", 469},
  };
  return calls;
}

// libseccomp gives made-up negative numbers to the calls of 32-bit x86 that socketcall and ipc can make,
// also where Linux 4.3 and 5.1 added real ones (arch/x86/entry/syscalls/syscall_32.tbl).
const absl::flat_hash_map<std::string, uint32_t>& DirectX86Calls() {
  static const auto& calls = *new absl::flat_hash_map<std::string, uint32_t>{
      {"recvmmsg", 337},   {"sendmmsg", 345},   {"socket", 359},      {"socketpair", 360},
      {"bind", 361},       {"connect", 362},    {"listen", 363},      {"accept4", 364},
      {"getsockopt", 365}, {"setsockopt", 366}, {"getsockname", 367}, {"getpeername", 368},
      {"sendto", 369},     {"sendmsg", 370},    {"recvfrom", 371},    {"recvmsg", 372},
      {"shutdown", 373},   {"semget", 393},     {"semctl", 394},      {"shmget", 395},
      {"shmctl", 396},     {"shmat", 397},      {"shmdt", 398},       {"msgget", 399},
      {"msgsnd", 400},     {"msgrcv", 401},     {"msgctl", 402},
  };
  return calls;
}

}  // namespace

std::optional<uint32_t> SyscallNumber(uint32_t arch, const std::string& name) {
  const int number = seccomp_syscall_resolve_name_arch(arch, name.c_str());
  if (number >= 0) return static_cast<uint32_t>(number);
  if (number != __NR_SCMP_ERROR) {
    const auto direct = DirectX86Calls().find(name);
    if (arch == AUDIT_ARCH_I386 && direct != DirectX86Calls().end()) return direct->second;
    return std::nullopt;  // known, but not here
  }
  if (name == "uretprobe" && arch == AUDIT_ARCH_X86_64) return 335;  // Linux 6.11
  if (name == "uprobe" && arch == AUDIT_ARCH_X86_64) return 336;     // Linux 6.18
  const auto it = NewCalls().find(name);
  if (it == NewCalls().end()) return std::nullopt;
  return arch == kArchX32 ? it->second | 0x4000'0000u : it->second;
}

std::optional<MultiplexedCall> MultiplexedOnX86(const std::string& name) {
  // linux/net.h SYS_* and linux/ipc.h.
  static const auto& calls = *new absl::flat_hash_map<std::string, MultiplexedCall>{
      {"socket", {"socketcall", 1}},
      {"bind", {"socketcall", 2}},
      {"connect", {"socketcall", 3}},
      {"listen", {"socketcall", 4}},
      {"accept", {"socketcall", 5}},
      {"getsockname", {"socketcall", 6}},
      {"getpeername", {"socketcall", 7}},
      {"socketpair", {"socketcall", 8}},
      {"send", {"socketcall", 9}},
      {"recv", {"socketcall", 10}},
      {"sendto", {"socketcall", 11}},
      {"recvfrom", {"socketcall", 12}},
      {"shutdown", {"socketcall", 13}},
      {"setsockopt", {"socketcall", 14}},
      {"getsockopt", {"socketcall", 15}},
      {"sendmsg", {"socketcall", 16}},
      {"recvmsg", {"socketcall", 17}},
      {"accept4", {"socketcall", 18}},
      {"recvmmsg", {"socketcall", 19}},
      {"sendmmsg", {"socketcall", 20}},
      {"semop", {"ipc", 1}},
      {"semget", {"ipc", 2}},
      {"semctl", {"ipc", 3}},
      {"semtimedop", {"ipc", 4}},
      {"msgsnd", {"ipc", 11}},
      {"msgrcv", {"ipc", 12}},
      {"msgget", {"ipc", 13}},
      {"msgctl", {"ipc", 14}},
      {"shmat", {"ipc", 21}},
      {"shmdt", {"ipc", 22}},
      {"shmget", {"ipc", 23}},
      {"shmctl", {"ipc", 24}},
  };
  const auto it = calls.find(name);
  if (it == calls.end()) return std::nullopt;
  return it->second;
}

}  // namespace berth
