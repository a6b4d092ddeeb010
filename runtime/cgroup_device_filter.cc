#include "runtime/cgroup_device_filter.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/mutex.h"
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

struct Program {
  UniqueFd fd;
  uint32_t id = 0;
};

// Programs that were loaded: most containers have the same one, and verifying it costs more than all else.
class LoadedPrograms {
 public:
  std::shared_ptr<const Program> Find(const std::string& key) const {
    MutexLock lock(&mu_);
    for (const auto& [of, program] : programs_) {
      if (of == key) return program;
    }
    return nullptr;
  }
  void Add(std::string key, std::shared_ptr<const Program> program) {
    constexpr size_t kMost = 16;
    MutexLock lock(&mu_);
    if (programs_.size() == kMost) programs_.erase(programs_.begin());
    programs_.emplace_back(std::move(key), std::move(program));
  }

 private:
  mutable Mutex mu_;
  std::vector<std::pair<std::string, std::shared_ptr<const Program>>> programs_
      ABSL_GUARDED_BY(mu_);
};

LoadedPrograms& Loaded() {
  static LoadedPrograms* const programs = new LoadedPrograms;
  return *programs;
}

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

absl::StatusOr<uint32_t> IdOf(int fd) {
  bpf_prog_info info;
  std::memset(&info, 0, sizeof info);
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.info.bpf_fd = fd;
  attr.info.info_len = sizeof info;
  attr.info.info = reinterpret_cast<uint64_t>(&info);
  if (Bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) != 0)
    return ErrnoStatus("ask for the device filter (bpf)");
  return info.id;
}

absl::StatusOr<std::shared_ptr<const Program>> GetProgram(const std::vector<DeviceRule>& rules) {
  const std::vector<bpf_insn> code = DeviceProgram(rules);
  std::string key(reinterpret_cast<const char*>(code.data()), code.size() * sizeof(bpf_insn));
  if (std::shared_ptr<const Program> known = Loaded().Find(key)) return known;
  auto program = std::make_shared<Program>();
  ASSIGN_OR_RETURN(program->fd, LoadProgram(code));
  ASSIGN_OR_RETURN(program->id, IdOf(program->fd.get()));
  Loaded().Add(std::move(key), program);
  return std::shared_ptr<const Program>(std::move(program));
}

absl::StatusOr<std::vector<uint32_t>> AttachedTo(int directory) {
  std::vector<uint32_t> ids(kMaxAttached);
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.query.target_fd = directory;
  attr.query.attach_type = BPF_CGROUP_DEVICE;
  attr.query.prog_ids = reinterpret_cast<uint64_t>(ids.data());
  attr.query.prog_cnt = kMaxAttached;
  if (Bpf(BPF_PROG_QUERY, &attr) != 0) return ErrnoStatus("query the device filter (bpf)");
  ids.resize(attr.query.prog_cnt);
  return ids;
}

absl::StatusOr<UniqueFd> OpenProgram(uint32_t id) {
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.prog_id = id;
  UniqueFd fd(Bpf(BPF_PROG_GET_FD_BY_ID, &attr));
  if (!fd) return ErrnoStatus("open the old device filter (bpf)");
  return fd;
}

// `replaced`: the program whose place it takes, or -1. 0 or the errno.
int Attach(int directory, int program, int replaced) {
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.target_fd = directory;
  attr.attach_bpf_fd = program;
  attr.attach_type = BPF_CGROUP_DEVICE;
  attr.attach_flags = BPF_F_ALLOW_MULTI;
  if (replaced >= 0) {
    attr.attach_flags |= BPF_F_REPLACE;
    attr.replace_bpf_fd = replaced;
  }
  return Bpf(BPF_PROG_ATTACH, &attr) == 0 ? 0 : errno;
}

absl::Status Detach(int directory, int program) {
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.target_fd = directory;
  attr.attach_bpf_fd = program;
  attr.attach_type = BPF_CGROUP_DEVICE;
  if (Bpf(BPF_PROG_DETACH, &attr) != 0) return ErrnoStatus("detach the old device filter (bpf)");
  return absl::OkStatus();
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
  ASSIGN_OR_RETURN(const std::shared_ptr<const Program> program, GetProgram(rules));
  ASSIGN_OR_RETURN(const std::vector<uint32_t> old, AttachedTo(directory));
  if (old.size() == 1 && old[0] == program->id) return absl::OkStatus();
  if (old.size() == 1) {
    ASSIGN_OR_RETURN(const UniqueFd replaced, OpenProgram(old[0]));
    if (Attach(directory, program->fd.get(), replaced.get()) == 0) return absl::OkStatus();
  }
  // All programs of a cgroup must agree, so the new one may stand beside the old for a moment.
  bool attached = false;
  for (const uint32_t id : old) attached = attached || id == program->id;
  if (!attached) {
    if (const int error = Attach(directory, program->fd.get(), -1); error != 0) {
      return ErrnoStatusOf(error, "attach the device filter (bpf)");
    }
  }
  for (const uint32_t id : old) {
    if (id == program->id) continue;
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenProgram(id));
    RETURN_IF_ERROR(Detach(directory, fd.get()));
  }
  return absl::OkStatus();
}

}  // namespace berth
