#include "runtime/seccomp/profile.h"

#include <linux/audit.h>
#include <linux/seccomp.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json_fields.h"
#include "base/status.h"

namespace berth {
namespace {

struct NamedArch {
  const char* name;
  uint32_t arch;
};
// runtime-spec, config-linux.md, "architectures"; values as linux/audit.h and libseccomp have them.
constexpr NamedArch kArchs[] = {
    {"SCMP_ARCH_X86", AUDIT_ARCH_I386},
    {"SCMP_ARCH_X86_64", AUDIT_ARCH_X86_64},
    {"SCMP_ARCH_X32", kArchX32},
    {"SCMP_ARCH_ARM", AUDIT_ARCH_ARM},
    {"SCMP_ARCH_AARCH64", AUDIT_ARCH_AARCH64},
    {"SCMP_ARCH_MIPS", AUDIT_ARCH_MIPS},
    {"SCMP_ARCH_MIPS64", AUDIT_ARCH_MIPS64},
    {"SCMP_ARCH_MIPS64N32", AUDIT_ARCH_MIPS64N32},
    {"SCMP_ARCH_MIPSEL", AUDIT_ARCH_MIPSEL},
    {"SCMP_ARCH_MIPSEL64", AUDIT_ARCH_MIPSEL64},
    {"SCMP_ARCH_MIPSEL64N32", AUDIT_ARCH_MIPSEL64N32},
    {"SCMP_ARCH_PPC", AUDIT_ARCH_PPC},
    {"SCMP_ARCH_PPC64", AUDIT_ARCH_PPC64},
    {"SCMP_ARCH_PPC64LE", AUDIT_ARCH_PPC64LE},
    {"SCMP_ARCH_S390", AUDIT_ARCH_S390},
    {"SCMP_ARCH_S390X", AUDIT_ARCH_S390X},
    {"SCMP_ARCH_PARISC", AUDIT_ARCH_PARISC},
    {"SCMP_ARCH_PARISC64", AUDIT_ARCH_PARISC64},
    {"SCMP_ARCH_RISCV64", AUDIT_ARCH_RISCV64},
    {"SCMP_ARCH_LOONGARCH64", 0xc000'0102u},
};

struct NamedAction {
  const char* name;
  SeccompAction action;
};
// The first of an action is the one that is written.
constexpr NamedAction kActions[] = {
    {"SCMP_ACT_KILL_THREAD", SeccompAction::kKillThread},
    {"SCMP_ACT_KILL", SeccompAction::kKillThread},
    {"SCMP_ACT_KILL_PROCESS", SeccompAction::kKillProcess},
    {"SCMP_ACT_TRAP", SeccompAction::kTrap},
    {"SCMP_ACT_ERRNO", SeccompAction::kErrno},
    {"SCMP_ACT_TRACE", SeccompAction::kTrace},
    {"SCMP_ACT_ALLOW", SeccompAction::kAllow},
    {"SCMP_ACT_LOG", SeccompAction::kLog},
    {"SCMP_ACT_NOTIFY", SeccompAction::kNotify},
};

struct NamedOp {
  const char* name;
  SeccompOp op;
};
constexpr NamedOp kOps[] = {
    {"SCMP_CMP_NE", SeccompOp::kNe},
    {"SCMP_CMP_LT", SeccompOp::kLt},
    {"SCMP_CMP_LE", SeccompOp::kLe},
    {"SCMP_CMP_EQ", SeccompOp::kEq},
    {"SCMP_CMP_GE", SeccompOp::kGe},
    {"SCMP_CMP_GT", SeccompOp::kGt},
    {"SCMP_CMP_MASKED_EQ", SeccompOp::kMaskedEq},
};

struct NamedFlag {
  const char* name;
  uint32_t flag;
};
constexpr NamedFlag kFlags[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
};

absl::Status ReadAction(const JsonFields& fields, const char* key, SeccompAction* action) {
  std::string name;
  RETURN_IF_ERROR(fields.Read(key, &name));
  for (const NamedAction& entry : kActions) {
    if (name == entry.name) {
      *action = entry.action;
      return absl::OkStatus();
    }
  }
  return fields.Invalid(key,
                        name.empty() ? "missing" : absl::StrCat("unknown action \"", name, "\""));
}

absl::Status ReadErrno(const JsonFields& fields, const char* key, std::optional<uint32_t>* out) {
  RETURN_IF_ERROR(fields.Read(key, out));
  // MAX_ERRNO: the kernel cuts what is larger.
  if (*out && **out > 4095) return fields.Invalid(key, absl::StrCat(**out, " is no errno"));
  return absl::OkStatus();
}

absl::Status ReadArg(const JsonFields& fields, SeccompArg* arg) {
  RETURN_IF_ERROR(fields.Read("index", &arg->index));
  if (arg->index > 5) return fields.Invalid("index", absl::StrCat(arg->index, " is beyond 5"));
  RETURN_IF_ERROR(fields.Read("value", &arg->value));
  RETURN_IF_ERROR(fields.Read("valueTwo", &arg->value_two));
  std::string op;
  RETURN_IF_ERROR(fields.Read("op", &op));
  for (const NamedOp& entry : kOps) {
    if (op == entry.name) {
      arg->op = entry.op;
      return absl::OkStatus();
    }
  }
  return fields.Invalid("op", absl::StrCat("unknown operator \"", op, "\""));
}

absl::Status ReadRule(const JsonFields& fields, SeccompRule* rule) {
  RETURN_IF_ERROR(fields.Read("names", &rule->names));
  std::string name;  // of profiles before runtime-spec 1.0
  RETURN_IF_ERROR(fields.Read("name", &name));
  if (!name.empty()) rule->names.push_back(name);
  if (rule->names.empty()) return fields.Invalid("names", "want at least one system call");
  RETURN_IF_ERROR(ReadAction(fields, "action", &rule->action));
  RETURN_IF_ERROR(ReadErrno(fields, "errnoRet", &rule->errno_ret));
  return fields.EachObject(
      "args", [&](const JsonFields& item) { return ReadArg(item, &rule->args.emplace_back()); });
}

template <typename Entry, size_t N, typename Value>
const char* NameOf(const Entry (&table)[N], Value Entry::* member, Value value) {
  for (const Entry& entry : table) {
    if (entry.*member == value) return entry.name;
  }
  return "";
}

}  // namespace

uint32_t NativeSeccompArch() {
#if defined(__x86_64__)
  return AUDIT_ARCH_X86_64;
#else
  return AUDIT_ARCH_AARCH64;
#endif
}

std::string SeccompArchName(uint32_t arch) { return NameOf(kArchs, &NamedArch::arch, arch); }

absl::StatusOr<SeccompProfile> SeccompProfileFromJson(const nlohmann::json& value,
                                                      absl::string_view field) {
  const JsonFields fields(value, std::string(field));
  RETURN_IF_ERROR(fields.CheckObject());
  SeccompProfile profile;
  RETURN_IF_ERROR(ReadAction(fields, "defaultAction", &profile.default_action));
  RETURN_IF_ERROR(ReadErrno(fields, "defaultErrnoRet", &profile.default_errno_ret));
  RETURN_IF_ERROR(
      fields.EachItem("architectures", [&](const nlohmann::json& item, const std::string& path) {
        for (const NamedArch& entry : kArchs) {
          if (item.is_string() && item.get_ref<const std::string&>() == entry.name) {
            profile.architectures.push_back(entry.arch);
            return absl::OkStatus();
          }
        }
        return JsonFields::Error(path, absl::StrCat("unknown architecture ", item.dump()));
      }));
  RETURN_IF_ERROR(
      fields.EachItem("flags", [&](const nlohmann::json& item, const std::string& path) {
        for (const NamedFlag& entry : kFlags) {
          if (item.is_string() && item.get_ref<const std::string&>() == entry.name) {
            profile.filter_flags |= entry.flag;
            return absl::OkStatus();
          }
        }
        return JsonFields::Error(path, absl::StrCat("unknown flag ", item.dump()));
      }));
  RETURN_IF_ERROR(fields.EachObject("syscalls", [&](const JsonFields& item) {
    return ReadRule(item, &profile.rules.emplace_back());
  }));
  return profile;
}

absl::StatusOr<SeccompProfile> ParseSeccompProfile(absl::string_view text,
                                                   absl::string_view field) {
  const nlohmann::json value = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) return JsonFields::Error(field, "not JSON");
  return SeccompProfileFromJson(value, field);
}

nlohmann::json SeccompProfileToJson(const SeccompProfile& profile) {
  nlohmann::json out;
  out["defaultAction"] = NameOf(kActions, &NamedAction::action, profile.default_action);
  if (profile.default_errno_ret) out["defaultErrnoRet"] = *profile.default_errno_ret;
  for (const uint32_t arch : profile.architectures) {
    out["architectures"].push_back(SeccompArchName(arch));
  }
  for (const NamedFlag& entry : kFlags) {
    if (profile.filter_flags & entry.flag) out["flags"].push_back(entry.name);
  }
  for (const SeccompRule& rule : profile.rules) {
    nlohmann::json item;
    item["names"] = rule.names;
    item["action"] = NameOf(kActions, &NamedAction::action, rule.action);
    if (rule.errno_ret) item["errnoRet"] = *rule.errno_ret;
    for (const SeccompArg& arg : rule.args) {
      nlohmann::json condition = {
          {"index", arg.index}, {"value", arg.value}, {"op", NameOf(kOps, &NamedOp::op, arg.op)}};
      if (arg.value_two != 0) condition["valueTwo"] = arg.value_two;
      item["args"].push_back(std::move(condition));
    }
    out["syscalls"].push_back(std::move(item));
  }
  return out;
}

}  // namespace berth
