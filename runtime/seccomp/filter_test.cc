// Every filter is run by an interpreter of classic BPF and compared with libseccomp's own filter for
// the same profile.
#include "runtime/seccomp/filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/seccomp/syscalls.h"

namespace berth {
namespace {

using testing::HasSubstr;

struct Run {
  uint32_t value = 0;
  int steps = 0;
};

Run Interpret(const std::vector<sock_filter>& program, const seccomp_data& data) {
  uint32_t a = 0;
  Run run;
  for (size_t pc = 0; pc < program.size(); ++pc) {
    ++run.steps;
    const sock_filter& i = program[pc];
    switch (i.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        EXPECT_LE(i.k + 4, sizeof data);
        std::memcpy(&a, reinterpret_cast<const char*>(&data) + i.k, 4);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        a &= i.k;
        break;
      case BPF_JMP | BPF_JA:
        pc += i.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        pc += a == i.k ? i.jt : i.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        pc += a >= i.k ? i.jt : i.jf;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        pc += a > i.k ? i.jt : i.jf;
        break;
      case BPF_RET | BPF_K:
        run.value = i.k;
        return run;
      default:
        ADD_FAILURE() << "unknown instruction " << i.code;
        return run;
    }
  }
  ADD_FAILURE() << "ran off the end";
  return run;
}

uint32_t ScmpAction(SeccompAction action, std::optional<uint32_t> data) {
  switch (action) {
    case SeccompAction::kAllow:
      return SCMP_ACT_ALLOW;
    case SeccompAction::kErrno:
      return SCMP_ACT_ERRNO(data.value_or(EPERM));
    case SeccompAction::kLog:
      return SCMP_ACT_LOG;
    case SeccompAction::kTrap:
      return SCMP_ACT_TRAP;
    case SeccompAction::kTrace:
      return SCMP_ACT_TRACE(data.value_or(EPERM));
    case SeccompAction::kKillThread:
      return SCMP_ACT_KILL_THREAD;
    default:
      return SCMP_ACT_KILL_PROCESS;
  }
}

scmp_arg_cmp ScmpArg(const SeccompArg& arg) {
  constexpr scmp_compare kOps[] = {SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE,       SCMP_CMP_EQ,
                                   SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ};
  return {arg.index, kOps[static_cast<int>(arg.op)], arg.value, arg.value_two};
}

// libseccomp's filter for the profile; `skip` leaves names out that its tables don't have.
std::vector<sock_filter> Reference(const SeccompProfile& profile) {
  const uint32_t fallback = ScmpAction(profile.default_action, profile.default_errno_ret);
  scmp_filter_ctx context = seccomp_init(fallback);
  EXPECT_EQ(seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), 0);
  EXPECT_EQ(seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2), 0);
  for (const uint32_t arch : profile.architectures) {
    if (arch == NativeSeccompArch()) continue;
    EXPECT_EQ(seccomp_arch_add(context, arch), 0);
  }
  for (const SeccompRule& rule : profile.rules) {
    const uint32_t action = ScmpAction(rule.action, rule.errno_ret);
    if (action == fallback) continue;
    std::vector<scmp_arg_cmp> args;
    for (const SeccompArg& arg : rule.args) args.push_back(ScmpArg(arg));
    for (const std::string& name : rule.names) {
      const int number = seccomp_syscall_resolve_name(name.c_str());
      if (number == __NR_SCMP_ERROR) continue;
      const int error = seccomp_rule_add_array(context, action, number, args.size(), args.data());
      EXPECT_TRUE(error == 0 || error == -EEXIST) << name << ": " << strerror(-error);
    }
  }
  const int fd = memfd_create("filter", MFD_CLOEXEC);
  EXPECT_EQ(seccomp_export_bpf(context, fd), 0);
  std::vector<sock_filter> program(lseek(fd, 0, SEEK_END) / sizeof(sock_filter));
  EXPECT_GT(pread(fd, program.data(), program.size() * sizeof(sock_filter), 0), 0);
  close(fd);
  seccomp_release(context);
  return program;
}

std::vector<uint64_t> InterestingValues(const SeccompProfile& profile) {
  std::set<uint64_t> values = {0, 1, 7, 40, 0x7e020000, 0x02000000, ~0ull, 1ull << 32, 1ull << 63};
  for (const SeccompRule& rule : profile.rules) {
    for (const SeccompArg& arg : rule.args) {
      for (const uint64_t v : {arg.value, arg.value_two}) {
        for (const uint64_t delta : {0ull, 1ull, ~0ull}) values.insert(v + delta);
        values.insert(v | (1ull << 32));
        values.insert(v & 0xffffffff);
      }
    }
  }
  return {values.begin(), values.end()};
}

bool HasConditions(const SeccompProfile& profile, uint32_t arch, uint32_t number) {
  for (const SeccompRule& rule : profile.rules) {
    if (rule.args.empty()) continue;
    for (const std::string& name : rule.names) {
      if (SyscallNumber(arch, name) == number) return true;
    }
  }
  return false;
}

// `ours` is compiled without the ENOSYS of unknown calls, which libseccomp has not.
void ExpectSame(const SeccompProfile& profile, bool multiplexed = false) {
  SeccompCompileOptions options;
  options.enosys_for_unknown = false;
  const auto ours = CompileSeccomp(profile, options);
  ASSERT_TRUE(ours.ok()) << ours.status();
  const std::vector<sock_filter> theirs = Reference(profile);
  const std::vector<uint64_t> values = InterestingValues(profile);

  std::vector<uint32_t> numbers;
  for (uint32_t n = 0; n < 600; ++n) {
    numbers.push_back(n);
    numbers.push_back(n | 0x40000000);
  }
  for (uint32_t n : {1024u, 0x3fffffffu, 0x7fffffffu, 0x80000000u, 0xfffffffeu, 0xffffffffu}) {
    numbers.push_back(n);
  }
  const std::vector<uint32_t> archs = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64,
                                       AUDIT_ARCH_ARM, 0};
  for (const uint32_t arch : archs) {
    for (const uint32_t number : numbers) {
      // What libseccomp's tables have not is not in the reference.
      if ((number & ~0x40000000u) >= 451 && (number & ~0x40000000u) < 600) continue;
      if ((number & ~0x40000000u) == 335 || (number & ~0x40000000u) == 336) continue;
      if (arch == AUDIT_ARCH_I386 && !multiplexed && (number == 102 || number == 117)) continue;
      seccomp_data data{};
      data.arch = arch;
      data.nr = static_cast<int>(number);
      const uint32_t table = number & 0x40000000 ? kArchX32 : arch;
      const bool narrow = arch == AUDIT_ARCH_I386 || arch == AUDIT_ARCH_ARM;
      const bool conditions =
          HasConditions(profile, table, number) || (multiplexed && number == 102);
      for (const uint64_t value : conditions ? values : std::vector<uint64_t>{0}) {
        for (int index = 0; index < (conditions ? 6 : 1); ++index) {
          std::memset(data.args, 0, sizeof data.args);
          data.args[index] = narrow ? value & 0xffffffff : value;
          const Run a = Interpret(ours->program, data);
          ASSERT_EQ(a.value, Interpret(theirs, data).value)
              << "arch " << std::hex << arch << " call " << number << " arg " << index << " = "
              << value;
          ASSERT_LT(a.steps, 100);
        }
      }
    }
  }
}

SeccompProfile Parse(const char* text) {
  const auto profile = ParseSeccompProfile(text, "p");
  EXPECT_TRUE(profile.ok()) << profile.status();
  return *profile;
}

TEST(SeccompFilter, DefaultProfilesAreLibseccomps) {
  ExpectSame(*DefaultSeccompProfile(DefaultCapabilities()));
  ExpectSame(*DefaultSeccompProfile(0));
  ExpectSame(*DefaultSeccompProfile(kAllCapabilities));
}

TEST(SeccompFilter, EachOperatorIsLibseccomps) {
  for (const char* op : {"NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"}) {
    for (const char* value : {"0", "5", "4294967295", "4294967296", "21474836485"}) {
      const nlohmann::json rule = {{"names", {"read", "ioctl"}},
                                   {"action", "SCMP_ACT_ERRNO"},
                                   {"errnoRet", 77},
                                   {"args",
                                    {{{"index", 1},
                                      {"op", std::string("SCMP_CMP_") + op},
                                      {"value", std::stoull(value)},
                                      {"valueTwo", 5}}}}};
      const nlohmann::json profile = {{"defaultAction", "SCMP_ACT_ALLOW"}, {"syscalls", {rule}}};
      SCOPED_TRACE(profile.dump());
      ExpectSame(Parse(profile.dump().c_str()));
    }
  }
}

TEST(SeccompFilter, SeveralConditionsAllHold) {
  ExpectSame(Parse(R"({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
    "syscalls": [{"names": ["mmap", "ioctl"], "action": "SCMP_ACT_ALLOW", "args": [
      {"index": 0, "op": "SCMP_CMP_LE", "value": 40}, {"index": 2, "op": "SCMP_CMP_EQ", "value": 0}]},
      {"names": ["read"], "action": "SCMP_ACT_LOG"}]})"));
}

TEST(SeccompFilter, SocketcallIsCoveredByItsCalls) {
  ExpectSame(Parse(R"({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
    "syscalls": [{"names": ["socket", "connect"], "action": "SCMP_ACT_ALLOW"}]})"),
             /*multiplexed=*/true);
}

TEST(SeccompFilter, TwoConditionsOnOneArgumentAreAlternatives) {
  const auto filter = CompileSeccomp(Parse(R"({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
    {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
      {"index": 0, "op": "SCMP_CMP_EQ", "value": 3}, {"index": 0, "op": "SCMP_CMP_EQ", "value": 4}]}]})"));
  ASSERT_TRUE(filter.ok());
  seccomp_data data{};
  data.arch = NativeSeccompArch();
  data.nr = static_cast<int>(*SyscallNumber(data.arch, "read"));
  for (const auto& [value, result] : std::vector<std::pair<int, uint32_t>>{
           {3, SECCOMP_RET_ALLOW}, {4, SECCOMP_RET_ALLOW}, {5, SECCOMP_RET_ERRNO | EPERM}}) {
    data.args[0] = value;
    EXPECT_EQ(Interpret(filter->program, data).value, result);
  }
}

TEST(SeccompFilter, CallsOfTheFutureAnswerEnosys) {
  const auto filter = CompileSeccomp(*DefaultSeccompProfile(DefaultCapabilities()));
  ASSERT_TRUE(filter.ok());
  seccomp_data data{};
  data.arch = NativeSeccompArch();
  for (const uint32_t number : {600u, 5000u, 0x3fffffffu}) {
    data.nr = static_cast<int>(number);
    EXPECT_EQ(Interpret(filter->program, data).value, SECCOMP_RET_ERRNO | ENOSYS) << number;
  }
  data.nr = -1;
  EXPECT_EQ(Interpret(filter->program, data).value, SECCOMP_RET_ERRNO | EPERM);
}

#if defined(__x86_64__)
TEST(SeccompFilter, X32AnswersAsAKernelWithoutIt) {
  const auto profile = DefaultSeccompProfile(0);
  const SeccompFilter filter =
      CompileSeccomp(*profile, {.enosys_for_unknown = true, .kernel_has_x32 = false}).value();
  const SeccompFilter whole = CompileSeccomp(*profile).value();
  EXPECT_LT(filter.program.size(), whole.program.size());
  seccomp_data data = {};
  data.arch = AUDIT_ARCH_X86_64;
  for (const int number : {0x4000'0000, 0x4000'0001, 0x4000'0208, 0x7fff'fffe}) {
    data.nr = number;
    EXPECT_EQ(Interpret(filter.program, data).value, SECCOMP_RET_ERRNO | ENOSYS) << number;
  }
  data.nr = SYS_read;
  EXPECT_EQ(Interpret(filter.program, data).value, SECCOMP_RET_ALLOW);
}

// The kernel's cost of an exec grows with it: 0.3 microseconds an instruction.
TEST(SeccompFilter, TheDefaultIsSmall) {
  const auto profile = DefaultSeccompProfile(0);
  const SeccompFilter filter =
      CompileSeccomp(*profile, {.enosys_for_unknown = true, .kernel_has_x32 = false}).value();
  EXPECT_LE(filter.program.size(), 250u);
}
#endif

TEST(SeccompFilter, NewNamespacesAreRefused) {
  const auto filter = CompileSeccomp(*DefaultSeccompProfile(DefaultCapabilities()));
  ASSERT_TRUE(filter.ok());
  std::cout << "default filter: " << filter->program.size() << " instructions\n";
  seccomp_data data{};
  data.arch = NativeSeccompArch();
  data.nr = static_cast<int>(*SyscallNumber(data.arch, "clone"));
  EXPECT_EQ(Interpret(filter->program, data).value, SECCOMP_RET_ALLOW);
  data.args[0] = 0x10000000;  // CLONE_NEWUSER
  EXPECT_EQ(Interpret(filter->program, data).value, SECCOMP_RET_ERRNO | EPERM);
  data.nr = static_cast<int>(*SyscallNumber(data.arch, "clone3"));
  EXPECT_EQ(Interpret(filter->program, data).value, SECCOMP_RET_ERRNO | ENOSYS);
}

TEST(SeccompFilter, CompiledOnceForEqualProfiles) {
  const auto a = std::make_shared<const SeccompProfile>(*DefaultSeccompProfile(0));
  const auto b = std::make_shared<const SeccompProfile>(*DefaultSeccompProfile(0));
  EXPECT_EQ(CachedSeccompFilter(a)->get(), CachedSeccompFilter(b)->get());
  const auto c = std::make_shared<const SeccompProfile>(*DefaultSeccompProfile(kAllCapabilities));
  EXPECT_NE(CachedSeccompFilter(a)->get(), CachedSeccompFilter(c)->get());
}

TEST(SeccompFilter, NotifyIsRefused) {
  EXPECT_EQ(CompileSeccomp(Parse(R"({"defaultAction": "SCMP_ACT_NOTIFY"})")).status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(SeccompProfile, SurvivesJson) {
  const SeccompProfile& profile = *DefaultSeccompProfile(DefaultCapabilities());
  const std::string text = SeccompProfileToJson(profile).dump();
  EXPECT_EQ(SeccompProfileToJson(Parse(text.c_str())).dump(), text);
}

TEST(SeccompProfile, ErrorsNameTheField) {
  const auto error = [](const char* text) {
    return std::string(ParseSeccompProfile(text, "s").status().message());
  };
  EXPECT_EQ(error("{"), "s: not JSON");
  EXPECT_EQ(error("[]"), "s: want an object");
  EXPECT_EQ(error("{}"), "s.defaultAction: missing");
  EXPECT_EQ(error(R"({"defaultAction": "SCMP_ACT_MAYBE"})"),
            "s.defaultAction: unknown action \"SCMP_ACT_MAYBE\"");
  EXPECT_EQ(error(R"({"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_Z80"]})"),
            "s.architectures[0]: unknown architecture \"SCMP_ARCH_Z80\"");
  EXPECT_EQ(error(R"({"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["read"],
            "action": "SCMP_ACT_ERRNO", "errnoRet": 9999}]})"),
            "s.syscalls[0].errnoRet: 9999 is no errno");
  EXPECT_EQ(error(R"({"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["read"],
            "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "op": "SCMP_CMP_EQ", "value": 0}]}]})"),
            "s.syscalls[0].args[0].index: 6 is beyond 5");
  EXPECT_EQ(error(R"({"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": [3],
            "action": "SCMP_ACT_ALLOW"}]})"),
            "s.syscalls[0].names[0]: want a string");
}

TEST(SeccompProfile, UnknownCallsAreSkipped) {
  EXPECT_TRUE(CompileSeccomp(Parse(R"({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
      {"names": ["teleport", "read"], "action": "SCMP_ACT_ALLOW"}]})"))
                  .ok());
}

}  // namespace
}  // namespace berth
