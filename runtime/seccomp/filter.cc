#include "runtime/seccomp/filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <list>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "runtime/seccomp/syscalls.h"

namespace berth {
namespace {

using Program = std::vector<sock_filter>;

constexpr uint32_t kX32Bit = 0x4000'0000;
constexpr uint32_t kSkipped = 0xffff'ffff;  // a call that a tracer cancelled
constexpr size_t kMaxInstructions = 4096;   // BPF_MAXINSNS

sock_filter Statement(uint16_t code, uint32_t k) { return {code, 0, 0, k}; }
sock_filter Load(uint32_t offset) { return Statement(BPF_LD | BPF_W | BPF_ABS, offset); }
sock_filter Return(uint32_t value) { return Statement(BPF_RET | BPF_K, value); }

uint32_t ReturnValue(SeccompAction action, std::optional<uint32_t> data) {
  switch (action) {
    case SeccompAction::kKillThread:
      return SECCOMP_RET_KILL_THREAD;
    case SeccompAction::kKillProcess:
      return SECCOMP_RET_KILL_PROCESS;
    case SeccompAction::kTrap:
      return SECCOMP_RET_TRAP;
    case SeccompAction::kErrno:
      return SECCOMP_RET_ERRNO | data.value_or(EPERM);
    case SeccompAction::kTrace:
      return SECCOMP_RET_TRACE | data.value_or(EPERM);
    case SeccompAction::kLog:
      return SECCOMP_RET_LOG;
    case SeccompAction::kAllow:
    case SeccompAction::kNotify:
      return SECCOMP_RET_ALLOW;
  }
  return SECCOMP_RET_KILL_PROCESS;
}

// One alternative of a call's conditional rules: all of `args` → `value`.
struct Alternative {
  std::vector<SeccompArg> args;
  uint32_t value = 0;
};

// What one call number leads to: the first alternative that holds, else `value`.
struct Outcome {
  std::vector<Alternative> alternatives;
  uint32_t value = 0;
  bool decided = false;  // an unconditional rule was seen
};

bool Same(const Outcome& a, const Outcome& b) {
  return a.alternatives.empty() && b.alternatives.empty() && a.value == b.value;
}

// The instructions of one comparison. A jump of kFail leads to the next alternative and is patched
// when its length is known.
constexpr uint8_t kFail = 0xff;

void Jump(uint16_t op, uint32_t k, uint8_t jt, uint8_t jf, Program* out) {
  out->push_back({static_cast<uint16_t>(BPF_JMP | op | BPF_K), jt, jf, k});
}

// Compares one 32-bit word: the only one of a 32-bit architecture, or the low one. Falls through if
// it holds.
void CompareLow(const SeccompArg& arg, Program* out) {
  const uint32_t value = static_cast<uint32_t>(arg.value);
  switch (arg.op) {
    case SeccompOp::kEq:
      return Jump(BPF_JEQ, value, 0, kFail, out);
    case SeccompOp::kNe:
      return Jump(BPF_JEQ, value, kFail, 0, out);
    case SeccompOp::kGt:
      return Jump(BPF_JGT, value, 0, kFail, out);
    case SeccompOp::kGe:
      return Jump(BPF_JGE, value, 0, kFail, out);
    case SeccompOp::kLt:
      return Jump(BPF_JGE, value, kFail, 0, out);
    case SeccompOp::kLe:
      return Jump(BPF_JGT, value, kFail, 0, out);
    case SeccompOp::kMaskedEq:
      out->push_back(Statement(BPF_ALU | BPF_AND | BPF_K, value));
      return Jump(BPF_JEQ, static_cast<uint32_t>(arg.value_two & arg.value), 0, kFail, out);
  }
}

// The high word, before the low one (2 instructions, `low` of them) is looked at.
void CompareHigh(const SeccompArg& arg, uint8_t low, Program* out) {
  const uint32_t value = static_cast<uint32_t>(arg.value >> 32);
  switch (arg.op) {
    case SeccompOp::kEq:
      return Jump(BPF_JEQ, value, 0, kFail, out);
    case SeccompOp::kNe:
      return Jump(BPF_JEQ, value, 0, low, out);
    case SeccompOp::kGt:
    case SeccompOp::kGe:
      Jump(BPF_JGT, value, low + 1, 0, out);
      return Jump(BPF_JEQ, value, 0, kFail, out);
    case SeccompOp::kLt:
    case SeccompOp::kLe:
      Jump(BPF_JGE, value, 0, low + 1, out);
      return Jump(BPF_JEQ, value, 0, kFail, out);
    case SeccompOp::kMaskedEq:
      if (value == 0) return;  // nothing of it counts
      out->push_back(Statement(BPF_ALU | BPF_AND | BPF_K, value));
      return Jump(BPF_JEQ, static_cast<uint32_t>((arg.value_two & arg.value) >> 32), 0, kFail, out);
  }
}

Program Condition(const SeccompArg& arg, bool wide) {
  // Both supported machines are little endian: the low word comes first.
  const uint32_t offset = offsetof(seccomp_data, args) + arg.index * sizeof(uint64_t);
  Program low = {Load(offset)};
  CompareLow(arg, &low);
  if (!wide) return low;
  Program out;
  CompareHigh(arg, static_cast<uint8_t>(low.size()), &out);
  if (!out.empty()) out.insert(out.begin(), Load(offset + 4));
  out.insert(out.end(), low.begin(), low.end());
  return out;
}

// True if all alternatives compare one argument with a value of 32 bits, and lead to one outcome.
bool IsSetOfValues(const Outcome& outcome) {
  for (const Alternative& alternative : outcome.alternatives) {
    if (alternative.args.size() != 1 || alternative.value != outcome.alternatives[0].value)
      return false;
    const SeccompArg& arg = alternative.args[0];
    if (arg.op != SeccompOp::kEq || arg.value >> 32 != 0 ||
        arg.index != outcome.alternatives[0].args[0].index)
      return false;
  }
  return outcome.alternatives.size() > 1;
}

// The argument is loaded once for all values.
Program SetOfValues(const Outcome& outcome, bool wide) {
  const uint32_t offset =
      offsetof(seccomp_data, args) + outcome.alternatives[0].args[0].index * sizeof(uint64_t);
  const size_t count = outcome.alternatives.size();
  Program out;
  if (wide) {
    out.push_back(Load(offset + 4));
    Jump(BPF_JEQ, 0, 0, static_cast<uint8_t>(count + 1), &out);
  }
  out.push_back(Load(offset));
  for (size_t i = 0; i < count; ++i) {
    const uint32_t value = static_cast<uint32_t>(outcome.alternatives[i].args[0].value);
    Jump(BPF_JEQ, value, static_cast<uint8_t>(count - i), 0, &out);
  }
  out.push_back(Return(outcome.value));
  out.push_back(Return(outcome.alternatives[0].value));
  return out;
}

Program Leaf(const Outcome& outcome, bool wide) {
  constexpr size_t kReachable = 200;  // a jump's distance has 8 bits
  if (IsSetOfValues(outcome) && outcome.alternatives.size() < kReachable) {
    return SetOfValues(outcome, wide);
  }
  Program out;
  for (const Alternative& alternative : outcome.alternatives) {
    Program one;
    for (const SeccompArg& arg : alternative.args) {
      const Program condition = Condition(arg, wide);
      one.insert(one.end(), condition.begin(), condition.end());
    }
    one.push_back(Return(alternative.value));
    for (size_t i = 0; i < one.size(); ++i) {
      const uint8_t to_end = static_cast<uint8_t>(one.size() - i - 1);  // at most 6 * 6 + 1
      if (BPF_CLASS(one[i].code) != BPF_JMP) continue;
      if (one[i].jt == kFail) one[i].jt = to_end;
      if (one[i].jf == kFail) one[i].jf = to_end;
    }
    out.insert(out.end(), one.begin(), one.end());
  }
  out.push_back(Return(outcome.value));
  return out;
}

struct Range {
  uint32_t first;
  Outcome outcome;
  bool wide;
};

// A binary search for the last range that begins at or below the number in A, with the plain returns
// shared at its end, which halves the filter. nullopt if one is out of a jump's reach (255
// instructions).
class SharedSearch {
 public:
  SharedSearch(const std::vector<Range>& ranges, size_t begin, size_t end)
      : ranges_(ranges), begin_(begin), end_(end) {}

  std::optional<Program> Compile() {
    Emit(begin_, end_);
    std::map<uint32_t, size_t> returns;
    for (const Fixup& fixup : fixups_) {
      const auto [it, is_new] = returns.try_emplace(fixup.value, out_.size());
      if (is_new) out_.push_back(Return(fixup.value));
      const size_t distance = it->second - fixup.at - 1;
      if (distance > 255) return std::nullopt;
      (fixup.taken ? out_[fixup.at].jt : out_[fixup.at].jf) = static_cast<uint8_t>(distance);
    }
    return reachable_ ? std::make_optional(std::move(out_)) : std::nullopt;
  }

 private:
  struct Fixup {
    size_t at;
    bool taken;  // the jump's true branch
    uint32_t value;
  };

  bool IsReturn(size_t begin, size_t end) const {
    return end - begin == 1 && ranges_[begin].outcome.alternatives.empty();
  }

  // At least one of the halves of two ranges or more begins right behind the jump.
  void Emit(size_t begin, size_t end) {
    if (end - begin == 1) {
      const Program leaf = Leaf(ranges_[begin].outcome, ranges_[begin].wide);
      out_.insert(out_.end(), leaf.begin(), leaf.end());
      return;
    }
    const size_t middle = begin + (end - begin) / 2;
    const size_t at = out_.size();
    Jump(BPF_JGE, ranges_[middle].first, 0, 0, &out_);
    if (IsReturn(begin, middle)) {
      fixups_.push_back({at, false, ranges_[begin].outcome.value});
    } else {
      Emit(begin, middle);
    }
    if (IsReturn(middle, end)) {
      fixups_.push_back({at, true, ranges_[middle].outcome.value});
      return;
    }
    const size_t distance = out_.size() - at - 1;
    if (distance > 255) reachable_ = false;
    out_[at].jt = static_cast<uint8_t>(distance);
    Emit(middle, end);
  }

  const std::vector<Range>& ranges_;
  const size_t begin_;
  const size_t end_;
  Program out_;
  std::vector<Fixup> fixups_;
  bool reachable_ = true;
};

// The same for any number of ranges: what is too large is split and searched in halves.
Program Search(const std::vector<Range>& ranges, size_t begin, size_t end) {
  if (end - begin == 1) return Leaf(ranges[begin].outcome, ranges[begin].wide);
  if (std::optional<Program> shared = SharedSearch(ranges, begin, end).Compile()) {
    return *std::move(shared);
  }
  const size_t middle = begin + (end - begin) / 2;
  const Program left = Search(ranges, begin, middle);
  const Program right = Search(ranges, middle, end);
  Program out;
  if (left.size() <= 255) {
    Jump(BPF_JGE, ranges[middle].first, static_cast<uint8_t>(left.size()), 0, &out);
  } else {
    Jump(BPF_JGE, ranges[middle].first, 0, 1, &out);
    out.push_back(Statement(BPF_JMP | BPF_JA, static_cast<uint32_t>(left.size())));
  }
  out.insert(out.end(), left.begin(), left.end());
  out.insert(out.end(), right.begin(), right.end());
  return out;
}

// What calls of x32 lead to: their rules, the kernel's own answer where it has no x32, or a kill.
enum class X32 { kServed, kMissing, kKilled };

// All call numbers of one audit architecture (x32 shares that of x86-64).
class NumberSpace {
 public:
  NumberSpace(const SeccompProfile& profile, const SeccompCompileOptions& options)
      : profile_(profile), options_(options) {
    default_.value = ReturnValue(profile.default_action, profile.default_errno_ret);
  }

  void AddRules(uint32_t arch) {
    uint32_t last = arch == kArchX32 ? kX32Bit : 0;
    for (const SeccompRule& rule : profile_.rules) {
      for (const std::string& name : rule.names) {
        const std::optional<uint32_t> number = SyscallNumber(arch, name);
        if (number) {
          last = std::max(last, *number);
          AddRule(*number, rule, rule.args);
        }
        if (arch == AUDIT_ARCH_I386) AddMultiplexed(name, rule);
      }
    }
    end_[arch] = last + 1;
  }

  Program Compile(uint32_t arch, X32 x32) const {
    const bool wide = arch != AUDIT_ARCH_I386 && arch != AUDIT_ARCH_ARM;
    std::map<uint32_t, Outcome> starts;  // where the default goes on after single numbers
    Outcome unknown = default_;
    if (options_.enosys_for_unknown && Refuses()) unknown.value = SECCOMP_RET_ERRNO | ENOSYS;
    Outcome killed;
    killed.value = SECCOMP_RET_KILL_PROCESS;
    starts[0] = default_;
    starts[end_.at(arch)] = unknown;
    if (arch == AUDIT_ARCH_X86_64) {
      Outcome missing;
      missing.value = SECCOMP_RET_ERRNO | ENOSYS;
      starts[kX32Bit] = x32 == X32::kKilled ? killed : x32 == X32::kMissing ? missing : default_;
      if (x32 == X32::kServed) starts[end_.at(kArchX32)] = unknown;
    }
    starts[kSkipped] = default_;

    std::vector<Range> ranges;
    const auto append = [&](uint32_t first, const Outcome& outcome) {
      if (!ranges.empty() && ranges.back().first == first) ranges.pop_back();
      if (!ranges.empty() && Same(ranges.back().outcome, outcome)) return;
      // x32 counts as 32 bits wide, though its registers are not: what is above is not looked at.
      ranges.push_back({first, outcome, wide && first < kX32Bit});
    };
    // Single numbers and starts side by side, in order.
    auto start = starts.begin();
    Outcome around = default_;
    for (const auto& [number, outcome] : outcomes_) {
      while (start != starts.end() && start->first <= number) {
        around = start->second;
        append(start->first, around);
        ++start;
      }
      append(number, outcome);
      append(number + 1, around);
    }
    for (; start != starts.end(); ++start) append(start->first, start->second);
    return Search(ranges, 0, ranges.size());
  }

 private:
  bool Refuses() const {
    return profile_.default_action == SeccompAction::kErrno ||
           profile_.default_action == SeccompAction::kTrap ||
           profile_.default_action == SeccompAction::kKillThread ||
           profile_.default_action == SeccompAction::kKillProcess;
  }

  void AddRule(uint32_t number, const SeccompRule& rule, const std::vector<SeccompArg>& args) {
    const uint32_t value = ReturnValue(rule.action, rule.errno_ret);
    if (value == default_.value) return;
    Outcome& outcome = outcomes_.try_emplace(number, default_).first->second;
    if (outcome.decided) return;
    if (args.empty()) {
      outcome = Outcome{{}, value, true};
      return;
    }
    // Two conditions on one argument are alternatives.
    bool repeated = false;
    for (size_t i = 0; i < args.size(); ++i) {
      for (size_t j = 0; j < i; ++j) repeated |= args[i].index == args[j].index;
    }
    if (!repeated) {
      outcome.alternatives.push_back({args, value});
    } else {
      for (const SeccompArg& arg : args) outcome.alternatives.push_back({{arg}, value});
    }
  }

  // What socketcall and ipc point to is out of a filter's reach: a rule with conditions may refuse the
  // whole call there, and never allows it.
  void AddMultiplexed(const std::string& name, const SeccompRule& rule) {
    const std::optional<MultiplexedCall> call = MultiplexedOnX86(name);
    if (!call || (!rule.args.empty() && rule.action == SeccompAction::kAllow)) return;
    const std::optional<uint32_t> number = SyscallNumber(AUDIT_ARCH_I386, call->through);
    if (number) AddRule(*number, rule, {{0, SeccompOp::kEq, call->selector, 0}});
  }

  const SeccompProfile& profile_;
  const SeccompCompileOptions& options_;
  Outcome default_;
  std::map<uint32_t, Outcome> outcomes_;
  std::map<uint32_t, uint32_t> end_;  // by architecture: one beyond the last number that was named
};

bool Has(const SeccompProfile& profile, uint32_t arch) {
  return std::find(profile.architectures.begin(), profile.architectures.end(), arch) !=
         profile.architectures.end();
}

// All that is in the profile, as bytes.
std::string Key(const SeccompProfile& profile) {
  std::string key =
      absl::StrCat(static_cast<int>(profile.default_action), ",",
                   profile.default_errno_ret.value_or(EPERM), ",", profile.filter_flags);
  for (const uint32_t arch : profile.architectures) absl::StrAppend(&key, ",", arch);
  for (const SeccompRule& rule : profile.rules) {
    absl::StrAppend(&key, ";", static_cast<int>(rule.action), ",", rule.errno_ret.value_or(EPERM));
    for (const SeccompArg& a : rule.args) {
      absl::StrAppend(&key, ",", a.index, "/", static_cast<int>(a.op), "/", a.value, "/",
                      a.value_two);
    }
    for (const std::string& name : rule.names) absl::StrAppend(&key, "|", name);
  }
  return key;
}

// Debian's kernels have x32 built in and switched off (syscall.x32). A child asks: where a filter of ours
// doesn't allow x32 (SystemCallArchitectures= of systemd), the question kills. Whoever can't tell has it.
bool KernelHasX32() {
#if defined(__x86_64__)
  static const bool has = [] {
    const pid_t child = fork();
    if (child == 0) {
      _exit(syscall(static_cast<long>(kX32Bit | __NR_getpid)) < 0 && errno == ENOSYS ? 1 : 0);
    }
    int status = 0;
    if (child < 0 || TEMP_FAILURE_RETRY(waitpid(child, &status, 0)) != child) return true;
    return !WIFEXITED(status) || WEXITSTATUS(status) != 1;
  }();
  return has;
#else
  return false;
#endif
}

// Most recently used first. Filters stay alive as long as somebody holds them.
class FilterCache {
 public:
  using Filter = std::shared_ptr<const SeccompFilter>;

  absl::StatusOr<Filter> Get(const std::shared_ptr<const SeccompProfile>& profile) {
    if (Filter hit = FindObject(profile.get())) return hit;
    const std::string key = Key(*profile);
    if (Filter hit = FindKey(key)) return hit;
    ASSIGN_OR_RETURN(SeccompFilter made,
                     CompileSeccomp(*profile, {.kernel_has_x32 = KernelHasX32()}));
    auto filter = std::make_shared<const SeccompFilter>(std::move(made));
    const MutexLock lock(&mu_);
    entries_.push_front({key, profile, filter});
    if (entries_.size() > kEntries) entries_.pop_back();
    return filter;
  }

 private:
  static constexpr size_t kEntries = 64;
  struct Entry {
    std::string key;
    std::shared_ptr<const SeccompProfile> profile;  // holds its address
    Filter filter;
  };

  Filter FindObject(const SeccompProfile* profile) {
    const MutexLock lock(&mu_);
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->profile.get() == profile) return Use(it);
    }
    return nullptr;
  }
  Filter FindKey(const std::string& key) {
    const MutexLock lock(&mu_);
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->key == key) return Use(it);
    }
    return nullptr;
  }
  Filter Use(std::list<Entry>::iterator it) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    entries_.splice(entries_.begin(), entries_, it);
    return entries_.front().filter;
  }

  Mutex mu_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<SeccompFilter> CompileSeccomp(const SeccompProfile& profile,
                                             const SeccompCompileOptions& options) {
  bool notify = profile.default_action == SeccompAction::kNotify;
  for (const SeccompRule& rule : profile.rules) notify |= rule.action == SeccompAction::kNotify;
  if (notify) return absl::UnimplementedError("seccomp: SCMP_ACT_NOTIFY is not supported");

  // Calls of another machine's architectures never come: of the list only the native one's relatives
  // count, and the native one itself always does.
#if defined(__x86_64__)
  const X32 x32 = !Has(profile, kArchX32)  ? X32::kKilled
                  : options.kernel_has_x32 ? X32::kServed
                                           : X32::kMissing;
  const std::vector<uint32_t> relatives = {AUDIT_ARCH_I386};
#else
  const X32 x32 = X32::kKilled;
  const std::vector<uint32_t> relatives = {AUDIT_ARCH_ARM};
#endif
  std::vector<uint32_t> archs = {NativeSeccompArch()};
  for (const uint32_t arch : relatives) {
    if (Has(profile, arch)) archs.push_back(arch);
  }

  SeccompFilter filter;
  filter.flags = profile.filter_flags;
  Program& out = filter.program;
  out.push_back(Load(offsetof(seccomp_data, arch)));
  for (const uint32_t arch : archs) {
    NumberSpace space(profile, options);
    space.AddRules(arch);
    if (arch == AUDIT_ARCH_X86_64 && x32 == X32::kServed) space.AddRules(kArchX32);
    const Program body = space.Compile(arch, x32);
    const uint32_t length = static_cast<uint32_t>(body.size() + 1);
    if (length <= 255) {
      Jump(BPF_JEQ, arch, 0, static_cast<uint8_t>(length), &out);
    } else {
      Jump(BPF_JEQ, arch, 1, 0, &out);
      out.push_back(Statement(BPF_JMP | BPF_JA, length));
    }
    out.push_back(Load(offsetof(seccomp_data, nr)));
    out.insert(out.end(), body.begin(), body.end());
  }
  out.push_back(Return(SECCOMP_RET_KILL_PROCESS));
  if (out.size() > kMaxInstructions) {
    return absl::InvalidArgumentError(absl::StrCat("seccomp: the profile needs ", out.size(),
                                                   " instructions, the kernel takes ",
                                                   kMaxInstructions));
  }
  return filter;
}

absl::StatusOr<std::shared_ptr<const SeccompFilter>> CachedSeccompFilter(
    const std::shared_ptr<const SeccompProfile>& profile) {
  static FilterCache& cache = *new FilterCache;
  return cache.Get(profile);
}

}  // namespace berth
