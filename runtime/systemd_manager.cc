#include "runtime/systemd_manager.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/failpoint.h"
#include "base/status.h"

namespace berth {
namespace {

constexpr char kService[] = "org.freedesktop.systemd1";
constexpr char kPath[] = "/org/freedesktop/systemd1";
constexpr char kManager[] = "org.freedesktop.systemd1.Manager";
constexpr char kScope[] = "org.freedesktop.systemd1.Scope";
constexpr char kPrivateSocket[] = "unix:path=/run/systemd/private";
// A daemon-reload of a node with thousands of units takes seconds, and answers nobody meanwhile.
constexpr absl::Duration kPatience = absl::Seconds(30);

struct BusCloser {
  void operator()(sd_bus* bus) const { sd_bus_flush_close_unref(bus); }
};
struct MessageUnref {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using Bus = std::unique_ptr<sd_bus, BusCloser>;
using Message = std::unique_ptr<sd_bus_message, MessageUnref>;

absl::Status BusStatus(int error, const std::string& what) {
  if (error == -ETIMEDOUT) {
    return absl::DeadlineExceededError(absl::StrCat(what, ": systemd does not answer"));
  }
  return absl::UnavailableError(ErrnoStatusOf(-error, what).message());
}

absl::Status ErrorStatus(const sd_bus_error& error, int rc, const std::string& what) {
  if (error.name == nullptr) return BusStatus(rc, what);
  const std::string text =
      absl::StrCat(what, ": ", error.message != nullptr ? error.message : error.name);
  const absl::string_view name = error.name;
  if (absl::EndsWith(name, ".UnitExists")) return absl::AlreadyExistsError(text);
  if (absl::EndsWith(name, ".NoSuchUnit")) return absl::NotFoundError(text);
  if (absl::EndsWith(name, ".InvalidArgs") || absl::EndsWith(name, ".PropertyReadOnly") ||
      absl::EndsWith(name, ".UnknownProperty")) {
    return absl::InvalidArgumentError(text);
  }
  if (absl::EndsWith(name, ".Timeout") || absl::EndsWith(name, ".NoReply")) {
    return absl::DeadlineExceededError(text);
  }
  return absl::UnavailableError(text);
}

absl::StatusOr<Bus> Connect() {
  RETURN_IF_ERROR(Failpoint("systemd.connect"));
  sd_bus* raw = nullptr;
  int rc = sd_bus_open_system(&raw);
  if (rc < 0) {
    rc = sd_bus_new(&raw);
    if (rc < 0) return BusStatus(rc, "sd_bus_new");
    Bus direct(raw);
    rc = sd_bus_set_address(raw, kPrivateSocket);
    if (rc >= 0) rc = sd_bus_start(raw);
    if (rc < 0) return BusStatus(rc, "connect to systemd");
    raw = direct.release();
  }
  Bus bus(raw);
  sd_bus_set_method_call_timeout(raw, absl::ToInt64Microseconds(kPatience));
  return bus;
}

absl::StatusOr<Message> NewCall(sd_bus* bus, const char* method) {
  sd_bus_message* raw = nullptr;
  const int rc = sd_bus_message_new_method_call(bus, &raw, kService, kPath, kManager, method);
  if (rc < 0) return BusStatus(rc, method);
  return Message(raw);
}

absl::StatusOr<Message> Send(sd_bus* bus, sd_bus_message* call, const std::string& what) {
  sd_bus_error error = SD_BUS_ERROR_NULL;
  absl::Cleanup free_error = [&error] { sd_bus_error_free(&error); };
  sd_bus_message* reply = nullptr;
  const int rc = sd_bus_call(bus, call, 0, &error, &reply);
  if (rc < 0) return ErrorStatus(error, rc, what);
  return Message(reply);
}

int AppendBytes(sd_bus_message* m, const char* name, const std::vector<uint8_t>& bytes) {
  int rc = sd_bus_message_open_container(m, 'r', "sv");
  if (rc >= 0) rc = sd_bus_message_append(m, "s", name);
  if (rc >= 0) rc = sd_bus_message_open_container(m, 'v', "ay");
  if (rc >= 0) rc = sd_bus_message_append_array(m, 'y', bytes.data(), bytes.size());
  if (rc >= 0) rc = sd_bus_message_close_container(m);
  return rc >= 0 ? sd_bus_message_close_container(m) : rc;
}

int AppendProperties(sd_bus_message* m, const UnitProperties& properties) {
  int rc = 0;
  for (const auto& [name, value] : properties) {
    if (rc < 0) return rc;
    if (const auto* number = std::get_if<uint64_t>(&value)) {
      rc = sd_bus_message_append(m, "(sv)", name.c_str(), "t", *number);
    } else {
      rc = AppendBytes(m, name.c_str(), *std::get_if<std::vector<uint8_t>>(&value));
    }
  }
  return rc;
}

// Ends of jobs, heard on one connection. The signal may come before the reply that names the job.
class JobEnds {
 public:
  explicit JobEnds(sd_bus* bus) : bus_(bus) {}
  JobEnds(const JobEnds&) = delete;
  JobEnds& operator=(const JobEnds&) = delete;
  ~JobEnds() { sd_bus_slot_unref(match_); }  // the connection may go on

  absl::Status Listen() {
    const int rc = sd_bus_match_signal(bus_, &match_, kService, kPath, kManager, "JobRemoved",
                                       &JobEnds::OnRemoved, this);
    return rc < 0 ? BusStatus(rc, "listen to systemd's jobs") : absl::OkStatus();
  }

  absl::Status Wait(const std::string& job, const std::string& what) {
    const absl::Time deadline = absl::Now() + kPatience;
    for (;;) {
      if (const auto end = results_.find(job); end != results_.end()) {
        if (end->second == "done" || end->second == "skipped") return absl::OkStatus();
        return absl::UnavailableError(absl::StrCat(what, ": systemd's job ended: ", end->second));
      }
      int rc = sd_bus_process(bus_, nullptr);
      if (rc < 0) return BusStatus(rc, what);
      if (rc > 0) continue;
      const absl::Duration left = deadline - absl::Now();
      if (left <= absl::ZeroDuration()) {
        return absl::DeadlineExceededError(absl::StrCat(what, ": systemd's job does not end"));
      }
      rc = sd_bus_wait(bus_, static_cast<uint64_t>(absl::ToInt64Microseconds(left)));
      if (rc < 0 && rc != -EINTR) return BusStatus(rc, what);
    }
  }

 private:
  static int OnRemoved(sd_bus_message* m, void* self, sd_bus_error*) {
    const char *job = nullptr, *unit = nullptr, *result = nullptr;
    uint32_t id = 0;
    if (sd_bus_message_read(m, "uoss", &id, &job, &unit, &result) >= 0) {
      static_cast<JobEnds*>(self)->results_[job] = result;
    }
    return 0;
  }

  sd_bus* bus_;
  sd_bus_slot* match_ = nullptr;
  std::map<std::string, std::string> results_;
};

// Sends a call whose answer is a job, and waits for its end.
absl::Status RunJob(sd_bus* bus, sd_bus_message* call, const std::string& what) {
  JobEnds ends(bus);
  RETURN_IF_ERROR(ends.Listen());
  ASSIGN_OR_RETURN(const Message reply, Send(bus, call, what));
  const char* job = nullptr;
  const int rc = sd_bus_message_read(reply.get(), "o", &job);
  if (rc < 0) return BusStatus(rc, what);
  return ends.Wait(job, what);
}

int AppendScope(sd_bus_message* m, const std::string& name, const std::string& slice, pid_t pid,
                const std::string& description, const UnitProperties& properties) {
  int rc = sd_bus_message_append(m, "ss", name.c_str(), "fail");
  if (rc >= 0) rc = sd_bus_message_open_container(m, 'a', "(sv)");
  if (rc >= 0) {
    rc = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s",
                               description.c_str(), "Slice", "s", slice.c_str(), "PIDs", "au", 1,
                               static_cast<uint32_t>(pid), "Delegate", "b", 1,
                               "DefaultDependencies", "b", 0, "CollectMode", "s",
                               "inactive-or-failed", "MemoryAccounting", "b", 1, "CPUAccounting",
                               "b", 1, "IOAccounting", "b", 1, "TasksAccounting", "b", 1);
  }
  if (rc >= 0) rc = AppendProperties(m, properties);
  if (rc >= 0) rc = sd_bus_message_close_container(m);
  return rc >= 0 ? sd_bus_message_append(m, "a(sa(sv))", 0) : rc;
}

std::string StringProperty(sd_bus* bus, const char* unit, const char* name) {
  char* value = nullptr;
  sd_bus_error error = SD_BUS_ERROR_NULL;
  const int rc = sd_bus_get_property_string(bus, kService, unit, kScope, name, &error, &value);
  sd_bus_error_free(&error);
  if (rc < 0) return "";  // it has just gone
  std::string result = value;
  free(value);
  return result;
}

}  // namespace

bool SystemdManager::IsBooted() { return sd_booted() > 0; }

absl::Status SystemdManager::StartScope(const std::string& name, const std::string& slice,
                                        pid_t pid, const std::string& description,
                                        const UnitProperties& properties) const {
  RETURN_IF_ERROR(Failpoint("systemd.start"));
  const std::string what = absl::StrCat("start ", name);
  ASSIGN_OR_RETURN(const Bus bus, Connect());
  ASSIGN_OR_RETURN(const Message call, NewCall(bus.get(), "StartTransientUnit"));
  const int rc = AppendScope(call.get(), name, slice, pid, description, properties);
  if (rc < 0) return BusStatus(rc, what);
  return RunJob(bus.get(), call.get(), what);
}

absl::Status SystemdManager::SetProperties(const std::string& name,
                                           const UnitProperties& properties) const {
  RETURN_IF_ERROR(Failpoint("systemd.set"));
  if (properties.empty()) return absl::OkStatus();
  const std::string what = absl::StrCat("set properties of ", name);
  ASSIGN_OR_RETURN(const Bus bus, Connect());
  ASSIGN_OR_RETURN(const Message call, NewCall(bus.get(), "SetUnitProperties"));
  int rc = sd_bus_message_append(call.get(), "sb", name.c_str(), 1);
  if (rc >= 0) rc = sd_bus_message_open_container(call.get(), 'a', "(sv)");
  if (rc >= 0) rc = AppendProperties(call.get(), properties);
  if (rc >= 0) rc = sd_bus_message_close_container(call.get());
  if (rc < 0) return BusStatus(rc, what);
  RETURN_IF_ERROR(Send(bus.get(), call.get(), what).status());
  // systemd answers, then writes from its queue, which comes before the next message: one more round trip.
  ASSIGN_OR_RETURN(const Message get, NewCall(bus.get(), "GetUnit"));
  if (rc = sd_bus_message_append(get.get(), "s", name.c_str()); rc < 0) return BusStatus(rc, what);
  return Send(bus.get(), get.get(), what).status();
}

absl::Status SystemdManager::Stop(const std::string& name) const {
  RETURN_IF_ERROR(Failpoint("systemd.stop"));
  const std::string what = absl::StrCat("stop ", name);
  ASSIGN_OR_RETURN(const Bus bus, Connect());
  ASSIGN_OR_RETURN(const Message call, NewCall(bus.get(), "StopUnit"));
  int rc = sd_bus_message_append(call.get(), "ss", name.c_str(), "replace");
  if (rc < 0) return BusStatus(rc, what);
  const absl::Status stopped = RunJob(bus.get(), call.get(), what);
  if (absl::IsNotFound(stopped)) return absl::OkStatus();
  RETURN_IF_ERROR(stopped);
  ASSIGN_OR_RETURN(const Message reset, NewCall(bus.get(), "ResetFailedUnit"));
  if (rc = sd_bus_message_append(reset.get(), "s", name.c_str()); rc < 0) {
    return BusStatus(rc, what);
  }
  const absl::Status forgotten = Send(bus.get(), reset.get(), what).status();
  return absl::IsNotFound(forgotten) ? absl::OkStatus() : forgotten;
}

absl::StatusOr<std::vector<ScopeUnit>> SystemdManager::ListScopes(
    const std::string& pattern) const {
  const std::string what = absl::StrCat("list units ", pattern);
  ASSIGN_OR_RETURN(const Bus bus, Connect());
  ASSIGN_OR_RETURN(const Message call, NewCall(bus.get(), "ListUnitsByPatterns"));
  int rc = sd_bus_message_append(call.get(), "asas", 0, 1, pattern.c_str());
  if (rc < 0) return BusStatus(rc, what);
  ASSIGN_OR_RETURN(const Message reply, Send(bus.get(), call.get(), what));
  std::vector<ScopeUnit> units;
  std::vector<std::string> paths;
  if (rc = sd_bus_message_enter_container(reply.get(), 'a', "(ssssssouso)"); rc < 0) {
    return BusStatus(rc, what);
  }
  for (;;) {
    const char *name, *description, *load, *active, *sub, *following, *path, *job_type, *job_path;
    uint32_t job = 0;
    rc = sd_bus_message_read(reply.get(), "(ssssssouso)", &name, &description, &load, &active, &sub,
                             &following, &path, &job, &job_type, &job_path);
    if (rc < 0) return BusStatus(rc, what);
    if (rc == 0) break;
    units.push_back({name, description, active, "", ""});
    paths.emplace_back(path);
  }
  for (size_t i = 0; i < units.size(); ++i) {
    units[i].control_group = StringProperty(bus.get(), paths[i].c_str(), "ControlGroup");
    units[i].slice = StringProperty(bus.get(), paths[i].c_str(), "Slice");
  }
  return units;
}

}  // namespace berth
