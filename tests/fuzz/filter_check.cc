#include "tests/fuzz/filter_check.h"

#include <linux/bpf_common.h>
#include <linux/seccomp.h>

#include <cstddef>

namespace berth {
namespace {

const char* InstructionFault(const sock_filter& instruction, size_t following) {
  switch (instruction.code) {
    case BPF_LD | BPF_W | BPF_ABS:
      if (instruction.k % 4 != 0) return "a load that is not aligned";
      return instruction.k < sizeof(seccomp_data) ? nullptr : "a load beyond the call's data";
    case BPF_ALU | BPF_AND | BPF_K:
    case BPF_RET | BPF_K:
      return nullptr;
    case BPF_JMP | BPF_JA:
      return instruction.k < following ? nullptr : "a jump beyond the end";
    case BPF_JMP | BPF_JEQ | BPF_K:
    case BPF_JMP | BPF_JGE | BPF_K:
    case BPF_JMP | BPF_JGT | BPF_K:
    case BPF_JMP | BPF_JSET | BPF_K:
      return instruction.jt < following && instruction.jf < following ? nullptr
                                                                      : "a branch beyond the end";
    default:
      return "an instruction that the compiler does not emit";
  }
}

}  // namespace

const char* FilterFault(const std::vector<sock_filter>& program) {
  if (program.empty()) return "no instruction";
  if (program.size() > BPF_MAXINSNS) return "too many instructions";
  for (size_t i = 0; i < program.size(); ++i) {
    const char* fault = InstructionFault(program[i], program.size() - i - 1);
    if (fault != nullptr) return fault;
  }
  return BPF_CLASS(program.back().code) == BPF_RET ? nullptr : "an end without a return";
}

}  // namespace berth
