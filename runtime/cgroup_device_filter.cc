#include "runtime/cgroup_device_filter.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

constexpr int kMaxAttached = 64;  // BPF_CGROUP_MAX_PROGS

bpf_insn Instruction(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm) {
  bpf_insn insn{};
  insn.code = code;
  insn.dst_reg = dst;
  insn.src_reg = src;
  insn.off = off;
  insn.imm = imm;
  return insn;
}

int32_t AccessBits(const std::string& access) {
  if (access.empty()) return BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
  int32_t bits = 0;
  for (char c : access) {
    if (c == 'r') bits |= BPF_DEVCG_ACC_READ;
    if (c == 'w') bits |= BPF_DEVCG_ACC_WRITE;
    if (c == 'm') bits |= BPF_DEVCG_ACC_MKNOD;
  }
  return bits;
}

// Registers: 2 type, 3 access, 4 major, 5 minor, 1 scratch. A condition that fails jumps to the end of
// the block; the distance is known when the block is complete.
void AppendRule(const DeviceRule& rule, std::vector<bpf_insn>* out) {
  std::vector<bpf_insn> block;
  auto unequal = [&](uint8_t reg, int32_t value) {
    block.push_back(Instruction(BPF_JMP | BPF_JNE | BPF_K, reg, 0, -1, value));
  };
  if (rule.type != 'a') unequal(2, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
  const int32_t bits = AccessBits(rule.access);
  constexpr int32_t kAll = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
  if (bits != kAll) {
    block.push_back(Instruction(BPF_ALU64 | BPF_MOV | BPF_X, 1, 3, 0, 0));
    block.push_back(
        Instruction(BPF_ALU64 | BPF_AND | BPF_K, 1, 0, 0, rule.allow ? kAll & ~bits : bits));
    if (rule.allow) {
      unequal(1, 0);
    } else {
      block.push_back(Instruction(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, -1, 0));
    }
  }
  if (rule.major >= 0) unequal(4, static_cast<int32_t>(rule.major));
  if (rule.minor >= 0) unequal(5, static_cast<int32_t>(rule.minor));
  block.push_back(Instruction(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, rule.allow ? 1 : 0));
  block.push_back(Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  for (size_t i = 0; i < block.size(); ++i) {
    if (block[i].off == -1) block[i].off = static_cast<int16_t>(block.size() - i - 1);
  }
  out->insert(out->end(), block.begin(), block.end());
}

// Whether nothing before this rule can be reached: later (earlier in the list) rules are dead code,
// which the verifier refuses.
bool MatchesAll(const DeviceRule& rule) {
  return rule.type == 'a' && rule.major < 0 && rule.minor < 0 &&
         (rule.access.empty() || AccessBits(rule.access) == AccessBits(""));
}

int Bpf(int command, bpf_attr* attr) { return syscall(SYS_bpf, command, attr, sizeof *attr); }

absl::StatusOr<UniqueFd> LoadProgram(const std::vector<bpf_insn>& program) {
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attr.insns = reinterpret_cast<uint64_t>(program.data());
  attr.insn_cnt = program.size();
  attr.license = reinterpret_cast<uint64_t>("Apache-2.0");
  std::memcpy(attr.prog_name, "berth_devices", sizeof "berth_devices");
  UniqueFd fd(Bpf(BPF_PROG_LOAD, &attr));
  if (!fd) return ErrnoStatus("load the device filter (bpf)");
  return fd;
}

}  // namespace

std::vector<bpf_insn> DeviceProgram(const std::vector<DeviceRule>& rules) {
  std::vector<bpf_insn> program;
  const auto load = [&](uint8_t reg, size_t field) {
    program.push_back(
        Instruction(BPF_LDX | BPF_MEM | BPF_W, reg, 1, static_cast<int16_t>(field), 0));
  };
  load(2, offsetof(bpf_cgroup_dev_ctx, access_type));
  program.push_back(Instruction(BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0));
  program.push_back(Instruction(BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff));
  program.push_back(Instruction(BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 16));
  load(4, offsetof(bpf_cgroup_dev_ctx, major));
  load(5, offsetof(bpf_cgroup_dev_ctx, minor));
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    AppendRule(*rule, &program);
    if (MatchesAll(*rule)) return program;
  }
  program.push_back(Instruction(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0));
  program.push_back(Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  return program;
}

absl::Status SetDeviceFilter(int directory, const std::vector<DeviceRule>& rules) {
  ASSIGN_OR_RETURN(const UniqueFd program, LoadProgram(DeviceProgram(rules)));

  uint32_t old[kMaxAttached] = {};
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.query.target_fd = directory;
  attr.query.attach_type = BPF_CGROUP_DEVICE;
  attr.query.prog_ids = reinterpret_cast<uint64_t>(old);
  attr.query.prog_cnt = kMaxAttached;
  if (Bpf(BPF_PROG_QUERY, &attr) != 0) return ErrnoStatus("query the device filter (bpf)");
  const uint32_t old_count = attr.query.prog_cnt;

  // All programs of a cgroup must agree, so the new one may stand beside the old for a moment.
  std::memset(&attr, 0, sizeof attr);
  attr.target_fd = directory;
  attr.attach_bpf_fd = program.get();
  attr.attach_type = BPF_CGROUP_DEVICE;
  attr.attach_flags = BPF_F_ALLOW_MULTI;
  if (Bpf(BPF_PROG_ATTACH, &attr) != 0) return ErrnoStatus("attach the device filter (bpf)");

  for (uint32_t i = 0; i < old_count; ++i) {
    std::memset(&attr, 0, sizeof attr);
    attr.prog_id = old[i];
    const UniqueFd fd(Bpf(BPF_PROG_GET_FD_BY_ID, &attr));
    if (!fd) return ErrnoStatus("open the old device filter (bpf)");
    std::memset(&attr, 0, sizeof attr);
    attr.target_fd = directory;
    attr.attach_bpf_fd = fd.get();
    attr.attach_type = BPF_CGROUP_DEVICE;
    if (Bpf(BPF_PROG_DETACH, &attr) != 0) return ErrnoStatus("detach the old device filter (bpf)");
  }
  return absl::OkStatus();
}

}  // namespace berth
