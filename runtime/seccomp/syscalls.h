// Names of system calls → numbers, by libseccomp's tables and what is newer than its 2.5.4.
#ifndef BERTH_RUNTIME_SECCOMP_SYSCALLS_H_
#define BERTH_RUNTIME_SECCOMP_SYSCALLS_H_

#include <cstdint>
#include <optional>
#include <string>

namespace berth {

// The number as the filter sees it in seccomp_data.nr (x32: with bit 30). nullopt if the architecture
// (AUDIT_ARCH_* or kArchX32) has no such call or the name is unknown.
std::optional<uint32_t> SyscallNumber(uint32_t arch, const std::string& name);

// How 32-bit x86 may call it besides: by socketcall(2) or ipc(2) with this first argument.
struct MultiplexedCall {
  const char* through;
  uint32_t selector;
};
std::optional<MultiplexedCall> MultiplexedOnX86(const std::string& name);

}  // namespace berth

#endif  // BERTH_RUNTIME_SECCOMP_SYSCALLS_H_
