#include "server/network/cni_network.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status.h"
#include "server/network/bounded_json.h"
#include "server/network/cni_arguments.h"
#include "server/network/cni_config.h"
#include "server/network/cni_config_directory.h"
#include "server/network/cni_plugin.h"
#include "server/network/cni_readiness.h"
#include "server/network/cni_result.h"
#include "server/network/cni_versions.h"
#include "server/network/netns.h"
#include "server/network/netns_addresses.h"

namespace berth {
namespace {

using nlohmann::json;

// An attachment's record, read back for a run of its plugins.
struct Run {
  CniConfigList list;
  json capability_args;
  CniCall call;
  json prev_result;  // DEL's
};

absl::StatusOr<Run> RunOf(const Attachment& attachment, absl::string_view command) {
  Run run;
  ASSIGN_OR_RETURN_WITH(run.list, ParseCniConfigList(attachment.config_json),
                        "stored network configuration");
  ASSIGN_OR_RETURN_WITH(run.capability_args, ParseJsonObject(attachment.capability_args_json),
                        "stored capability arguments");
  run.call = {.command = std::string(command),
              .container_id = attachment.pod.str(),
              .netns = attachment.netns_path,
              .interface = attachment.interface,
              .args = attachment.args};
  return run;
}

// A result for an attachment that was never finished, from what its interface has by now. Some
// plugins (firewall) find their rules by the addresses in it only. Null if the interface has no
// address.
json ResultFromNetns(const Attachment& attachment, const Run& run) {
  if (run.call.netns.empty()) return nullptr;
  const absl::StatusOr<std::vector<std::string>> addresses =
      NetnsAddresses(run.call.netns, run.call.interface);
  if (!addresses.ok()) LogWarning(addresses.status().message(), ", ignoring");
  if (!addresses.ok() || addresses->empty()) return nullptr;
  json result = {{"cniVersion", std::string(CniVersionText(run.list.version))},
                 {"interfaces", {{{"name", run.call.interface}, {"sandbox", run.call.netns}}}}};
  for (const std::string& address : *addresses) {
    result["ips"].push_back({{"address", address}, {"interface", 0}});
  }
  absl::StatusOr<CniResult> checked = ParseCniResult(DumpJson(result), run.list.version);
  return checked.ok() ? checked->raw : json();
}

// Versions before 0.4.0 give DEL no previous result.
absl::StatusOr<json> PrevResultForDel(const Attachment& attachment, const Run& run) {
  if (run.list.version < CniVersion::k0_4_0) return json();
  if (attachment.result_json.empty()) return ResultFromNetns(attachment, run);
  ASSIGN_OR_RETURN_WITH(json result, ParseJsonObject(attachment.result_json),
                        "stored network result");
  return result;
}

// Add and Remove go side by side, GC alone (CNI specification, "Lifecycle & Ordering").
class Turns {
 public:
  // DeadlineExceeded if it is not this one's turn by then.
  absl::Status BeginAttachment(absl::Time deadline) {
    MutexLock lock(&mu_);
    while (collecting_) {
      if (ended_.WaitWithDeadline(&mu_, deadline) && collecting_) {
        return absl::DeadlineExceededError("cni GC is still in progress");
      }
    }
    ++attachments_;
    return absl::OkStatus();
  }
  void EndAttachment() {
    MutexLock lock(&mu_);
    --attachments_;
    ended_.SignalAll();
  }
  absl::Status BeginCollection(absl::Time deadline) {
    MutexLock lock(&mu_);
    while (collecting_ || attachments_ > 0) {
      if (ended_.WaitWithDeadline(&mu_, deadline) && (collecting_ || attachments_ > 0)) {
        return absl::DeadlineExceededError("cni ADD, DEL or GC is still in progress");
      }
    }
    collecting_ = true;
    return absl::OkStatus();
  }
  void EndCollection() {
    MutexLock lock(&mu_);
    collecting_ = false;
    ended_.SignalAll();
  }

 private:
  Mutex mu_;
  CondVar ended_;
  int attachments_ ABSL_GUARDED_BY(mu_) = 0;
  bool collecting_ ABSL_GUARDED_BY(mu_) = false;
};

// Runs plugins one by one. Copies share the versions that were learnt.
class Runner {
 public:
  explicit Runner(CniOptions options)
      : options_(std::move(options)),
        versions_(
            std::make_shared<CniVersions>(options_.plugin_directories, options_.instance,
                                          std::min(options_.plugin_timeout, kQuestionTimeout))) {}

  absl::Duration timeout() const { return options_.plugin_timeout; }

  // The list with the version that is spoken.
  absl::StatusOr<CniConfigList> Negotiated(CniConfigList list) const {
    ASSIGN_OR_RETURN(list.version, versions_->Negotiate(list));
    return list;
  }

  CniOutcome Run(const CniConfigList& list, const CniPlugin& plugin, CniCall call,
                 const json& input, absl::Time deadline) const {
    call.instance = options_.instance;
    const std::string failpoint =
        absl::StrCat("network.cni.", absl::AsciiStrToLower(call.command), ".", plugin.type);
    if (absl::Status status = Failpoint(failpoint); !status.ok()) return {.status = status};
    const absl::Time start = absl::Now();
    CniOutcome outcome =
        RunCniPlugin(options_.plugin_directories, plugin.type, list.name, call, DumpJson(input),
                     std::min(deadline, start + options_.plugin_timeout));
    if (options_.observer) options_.observer(plugin.type, call.command, absl::Now() - start);
    return outcome;
  }

  // Asks each plugin whether it could serve ADD: the first that could not.
  absl::Status Ask(const CniConfigList& given) const {
    ASSIGN_OR_RETURN(const CniConfigList list, Negotiated(given));
    if (list.version < CniVersion::k1_1_0) return absl::OkStatus();
    for (const CniPlugin& plugin : list.plugins) {
      const CniOutcome outcome =
          Run(list, plugin, {.command = "STATUS"},
              PluginInput(list, plugin, json::object(), nullptr), absl::Now() + kQuestionTimeout);
      if (!outcome.status.ok()) return absl::FailedPreconditionError(outcome.status.message());
    }
    return absl::OkStatus();
  }

 private:
  // Of STATUS and VERSION, which do nothing.
  static constexpr absl::Duration kQuestionTimeout = absl::Seconds(10);

  const CniOptions options_;
  const std::shared_ptr<CniVersions> versions_;
};

class CniNetwork : public Network {
 public:
  explicit CniNetwork(const CniOptions& options)
      : configuration_(options.config_directory),
        runner_(options),
        readiness_([runner = runner_](const CniConfigList& list) { return runner.Ask(list); }) {}

  absl::Status Ready() override {
    ASSIGN_OR_RETURN(const std::shared_ptr<const CniConfigList> list, configuration_.Current());
    if (list->version < CniVersion::k1_1_0) return absl::OkStatus();  // There was no STATUS.
    return readiness_.Of(list);
  }

  absl::StatusOr<std::string> Configuration() override {
    ASSIGN_OR_RETURN(const std::shared_ptr<const CniConfigList> list, configuration_.Current());
    return list->ToJson();
  }

  absl::StatusOr<Attachment> Prepare(const AttachRequest& request) override {
    Attachment attachment;
    attachment.pod = request.pod;
    attachment.netns_path = request.netns_path;
    attachment.interface = request.interface;
    if (request.pod.empty()) return absl::InvalidArgumentError("pod: empty");
    if (request.netns_path.empty()) return absl::InvalidArgumentError("netns_path: empty");
    RETURN_IF_ERROR(CheckCniInterface(request.interface));
    ASSIGN_OR_RETURN(attachment.args, CniArgsOf(request));
    ASSIGN_OR_RETURN(const json capability_args, CniCapabilityArgsOf(request));
    attachment.capability_args_json = DumpJson(capability_args);
    ASSIGN_OR_RETURN(const std::shared_ptr<const CniConfigList> current, configuration_.Current());
    ASSIGN_OR_RETURN(const CniConfigList list, runner_.Negotiated(*current));
    attachment.network_name = list.name;
    attachment.config_json = list.ToJson();
    return attachment;
  }

  absl::StatusOr<NetworkResult> Add(Attachment* attachment, absl::Time deadline) override {
    attachment->taken_down = false;
    RETURN_IF_ERROR(turns_.BeginAttachment(deadline));
    absl::Cleanup end = [this] { turns_.EndAttachment(); };
    size_t added = 0;
    absl::StatusOr<NetworkResult> result = AddAll(attachment, &added, deadline);
    if (result.ok()) return result;
    attachment->result_json.clear();
    const absl::Status undone = UndoAdd(*attachment, added);
    attachment->taken_down = undone.ok();
    if (undone.ok()) return result.status();
    return Annotate(result.status(), absl::StrCat("something may be left, since ", undone.message(),
                                                  "; adding had failed"));
  }

  absl::Status Remove(const Attachment& attachment, absl::Time deadline) override {
    RETURN_IF_ERROR(turns_.BeginAttachment(deadline));
    absl::Cleanup end = [this] { turns_.EndAttachment(); };
    ASSIGN_OR_RETURN(const Run run, DelOf(attachment));
    absl::Status failed;
    for (size_t i = run.list.plugins.size(); i-- > 0;) {
      const absl::Status status = DelOne(run, i, deadline);
      // The specification stops here. But how far an intent's ADD came nobody knows: a plugin that
      // it never reached, and that can't do DEL, must not keep what the others hold.
      if (!status.ok() && !attachment.result_json.empty()) return status;
      failed.Update(status);
    }
    return failed;
  }

  absl::Status CollectGarbage(const std::vector<Attachment>& valid, absl::Time deadline) override {
    ASSIGN_OR_RETURN(const std::shared_ptr<const CniConfigList> current, configuration_.Current());
    ASSIGN_OR_RETURN(const CniConfigList list, runner_.Negotiated(*current));
    if (list.version < CniVersion::k1_1_0 || list.disable_gc) return absl::OkStatus();
    RETURN_IF_ERROR(turns_.BeginCollection(deadline));
    absl::Cleanup end = [this] { turns_.EndCollection(); };
    json attachments = json::array();
    for (const Attachment& attachment : valid) {
      if (attachment.network_name != list.name) continue;
      attachments.push_back(
          {{"containerID", attachment.pod.str()}, {"ifname", attachment.interface}});
    }
    absl::Status failed;
    for (const CniPlugin& plugin : list.plugins) {
      json input = PluginInput(list, plugin, json::object(), nullptr);
      input["cni.dev/valid-attachments"] = attachments;
      failed.Update(runner_.Run(list, plugin, {.command = "GC"}, input, deadline).status);
    }
    return failed;
  }

 private:
  // `added` becomes the number of plugins that succeeded.
  absl::StatusOr<NetworkResult> AddAll(Attachment* attachment, size_t* added, absl::Time deadline) {
    ASSIGN_OR_RETURN(const Run run, RunOf(*attachment, "ADD"));
    CniResult result;
    for (const CniPlugin& plugin : run.list.plugins) {
      ASSIGN_OR_RETURN(result, AddOne(run, plugin, result.raw, deadline));
      ++*added;
    }
    attachment->result_json = DumpJson(result.raw);
    ASSIGN_OR_RETURN_WITH(NetworkResult answer, ResultOf(*attachment),
                          absl::StrCat("cni network ", run.list.name));
    return answer;
  }

  absl::StatusOr<CniResult> AddOne(const Run& run, const CniPlugin& plugin, const json& prev_result,
                                   absl::Time deadline) {
    CniOutcome outcome =
        runner_.Run(run.list, plugin, run.call,
                    PluginInput(run.list, plugin, run.capability_args, prev_result), deadline);
    RETURN_IF_ERROR(outcome.status);
    absl::StatusOr<CniResult> result = ParseCniResult(outcome.output, run.list.version);
    if (result.ok()) return result;
    return absl::InternalError(absl::StrCat("cni plugin ", plugin.type, " (network ", run.list.name,
                                            ", ADD): its result: ", result.status().message()));
  }

  // DEL backwards, after an ADD of which `added` plugins succeeded. The caller's deadline is past,
  // or its patience is: the whole has plugin_timeout, of which plugins whose ADD did not succeed may
  // take half. One that hung in ADD is likely to hang again, and must not take the time of those
  // that hold something. Their failures stop nothing, else a misconfigured plugin would cost an
  // address with each attempt; one that was not even run can leave nothing.
  absl::Status UndoAdd(const Attachment& attachment, size_t added) {
    const absl::Time start = absl::Now();
    ASSIGN_OR_RETURN(const Run run, DelOf(attachment));
    absl::Status failed;
    for (size_t i = run.list.plugins.size(); i-- > 0;) {
      const absl::Duration share = i < added ? runner_.timeout() : runner_.timeout() / 2;
      const absl::Status status = DelOne(run, i, start + share);
      if (status.ok()) continue;
      if (i < added) return status;
      if (i == added) failed = status;
      if (i > added) LogWarning(status.message(), ", ignoring: it had not been added");
    }
    return failed;
  }

  static absl::StatusOr<Run> DelOf(const Attachment& attachment) {
    ASSIGN_OR_RETURN(Run run, RunOf(attachment, "DEL"));
    if (!IsNetns(run.call.netns)) run.call.netns.clear();
    ASSIGN_OR_RETURN(run.prev_result, PrevResultForDel(attachment, run));
    return run;
  }

  absl::Status DelOne(const Run& run, size_t index, absl::Time deadline) {
    const CniPlugin& plugin = run.list.plugins[index];
    const CniOutcome outcome =
        runner_.Run(run.list, plugin, run.call,
                    PluginInput(run.list, plugin, run.capability_args, run.prev_result), deadline);
    // "Container unknown or does not exist": nothing is left to clean up.
    return outcome.code == kCniUnknownContainer ? absl::OkStatus() : outcome.status;
  }

  CniConfigDirectory configuration_;
  const Runner runner_;
  CniReadiness readiness_;
  Turns turns_;
};

}  // namespace

std::unique_ptr<Network> NewCniNetwork(const CniOptions& options) {
  return std::make_unique<CniNetwork>(options);
}

}  // namespace berth
