#include "tests/stress/kubelet_load.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <functional>
#include <memory>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/harness/cri_client.h"
#include "tests/harness/pod_config.h"

namespace berth::testing {
namespace {

// A call that is repeated for longer is stuck.
constexpr absl::Duration kPatience = absl::Minutes(2);

// What a caller of kubelet's kind repeats: a daemon that is away, a pod that is closed at the moment.
bool Repeatable(const absl::Status& status) { return absl::IsUnavailable(status); }

// The end of a call whose own time is short: here or there.
bool GivenUp(const absl::Status& status) {
  return absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
}

// The answers to a call on something that somebody else removes at the same time.
bool FairInARace(const absl::Status& status) {
  return status.ok() || Repeatable(status) || absl::IsNotFound(status) ||
         absl::IsFailedPrecondition(status) || absl::IsCancelled(status) ||
         absl::IsAlreadyExists(status);
}

// The number after `"pid":` in a verbose status.
pid_t PidIn(const std::string& info) {
  const size_t at = info.find("\"keeperPid\":");
  if (at == std::string::npos) return 0;
  return static_cast<pid_t>(strtol(info.c_str() + at + strlen("\"keeperPid\":"), nullptr, 10));
}

}  // namespace

// The life of one pod, as one worker goes through it.
class KubeletLoad::Episode {
 public:
  Episode(KubeletLoad* load, std::mt19937_64* random,
          std::vector<std::unique_ptr<CriClient>>* hasty, CriClient* patient, std::string name)
      : load_(load), random_(*random), hasty_(*hasty), patient_(*patient), name_(std::move(name)) {
    const bool network = Chance(load->options_.network_share);
    config_ = network ? Pod(name_) : HostNetworkPod(name_);
    if (Chance(5)) {
      config_.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_pid(
          cri::POD);
    }
    config_.set_log_directory(absl::StrCat(load->options_.log_directory, "/", name_));
  }

  void Run() {
    load_->Count("pods");
    if (Chance(8)) SupersedeFirst();
    if (!RunPod()) return;
    if (Chance(load_->options_.keeper_death_share)) {
      KillKeeper();
    } else if (Chance(4)) {
      RemoveWhileCreating();
    } else {
      const int containers = 1 + Draw(3);
      for (int i = 0; i < containers; ++i) RunContainer(absl::StrCat("c", i));
    }
    RemovePod();
    if (!Chance(4)) return;
    // The name is free again.
    load_->Count("names used again");
    if (RunPod()) RemovePod();
  }

 private:
  int Draw(int below) { return static_cast<int>(random_() % static_cast<uint64_t>(below)); }
  bool Chance(int one_in) { return one_in > 0 && Draw(one_in) == 0; }

  // Calls until there is an answer that isn't to be repeated; the first tries are hasty, by chance.
  absl::Status Repeat(const char* what, const std::function<absl::Status(CriClient&)>& call) {
    const absl::Time deadline = absl::Now() + kPatience;
    int hasty = Chance(3) ? 1 + Draw(3) : 0;
    while (true) {
      const bool in_haste = hasty-- > 0;
      CriClient& client = in_haste ? *hasty_[Draw(static_cast<int>(hasty_.size()))] : patient_;
      absl::Status status = call(client);
      if (!Repeatable(status) && !(in_haste && GivenUp(status))) return status;
      if (in_haste) load_->Count("calls given up and repeated");
      if (load_->abandoned_) return absl::OkStatus();
      if (absl::Now() > deadline) {
        return absl::AbortedError(
            absl::StrCat(what, ": still after two minutes: ", status.message()));
      }
      if (!in_haste) absl::SleepFor(absl::Milliseconds(5));
    }
  }

  void Complain(const char* what, const absl::Status& status) {
    load_->Complain(absl::StrCat(name_, ": ", what, ": ", status.ToString()));
  }
  void Expect(const char* what, const absl::Status& status) {
    if (!status.ok()) Complain(what, status);
  }

  // Another configuration of the same name comes first, and its caller goes away.
  void SupersedeFirst() {
    load_->Count("creations superseded");
    cri::PodSandboxConfig other = config_;
    (*other.mutable_labels())["generation"] = "old";
    const auto made = hasty_[0]->RunPod(other);
    if (made.ok()) load_->SawId(*made, name_ + "/old");
    if (!made.ok() && !Repeatable(made.status()) && !GivenUp(made.status()))
      Complain("RunPodSandbox", made.status());
  }

  bool RunPod() {
    absl::Status status = Repeat("RunPodSandbox", [this](CriClient& client) {
      const auto made = client.RunPod(config_);
      if (made.ok()) pod_ = *made;
      return made.status();
    });
    if (absl::IsAlreadyExists(status)) {
      // The superseded one had got too far: kubelet finds it in the list and removes it.
      RemoveOthers();
      status = Repeat("RunPodSandbox", [this](CriClient& client) {
        const auto made = client.RunPod(config_);
        if (made.ok()) pod_ = *made;
        return made.status();
      });
    }
    if (!status.ok()) {
      Complain("RunPodSandbox", status);
      return false;
    }
    load_->SawId(pod_, absl::StrCat(name_, "#", ++run_));
    return true;
  }

  void RemoveOthers() {
    std::vector<cri::PodSandbox> pods;
    Expect("ListPodSandbox", Repeat("ListPodSandbox", [&pods](CriClient& client) {
             auto list = client.ListPods();
             absl::Status status = list.status();
             if (list.ok()) pods = *std::move(list);
             return status;
           }));
    for (const cri::PodSandbox& pod : pods) {
      if (pod.metadata().name() != name_) continue;
      Expect("RemovePodSandbox", Repeat("RemovePodSandbox", [&pod](CriClient& client) {
               return client.RemovePod(pod.id());
             }));
    }
  }

  void RemovePod() {
    if (Chance(2)) {
      Expect("StopPodSandbox",
             Repeat("StopPodSandbox", [this](CriClient& client) { return client.StopPod(pod_); }));
    }
    Expect("RemovePodSandbox", Repeat("RemovePodSandbox", [this](CriClient& client) {
             return client.RemovePod(pod_);
           }));
    const absl::Status status = Repeat(
        "PodSandboxStatus", [this](CriClient& client) { return client.PodStatus(pod_).status(); });
    if (!absl::IsNotFound(status)) Complain("PodSandboxStatus of a removed pod", status);
  }

  cri::ContainerConfig ContainerConfig(const std::string& name, int attempt) {
    const bool short_lived = Chance(3);
    cri::ContainerConfig config =
        Container(name, load_->options_.image,
                  short_lived ? std::vector<std::string>{"sh", "-c", "echo ran; exit 3"}
                              : std::vector<std::string>{"sleep", "100000"});
    config.mutable_metadata()->set_attempt(static_cast<uint32_t>(attempt));
    config.set_log_path(absl::StrCat(name, "_", attempt, ".log"));
    if (Chance(2)) SetLimits(&config);
    MatchNamespaces(config_, &config);
    return config;
  }

  // kubelet's way: made, started, probed, stopped, perhaps made again with the next attempt.
  void RunContainer(const std::string& name) {
    const int attempts = 1 + Draw(2);
    for (int attempt = 0; attempt < attempts; ++attempt) {
      load_->Count("containers");
      const cri::ContainerConfig config = ContainerConfig(name, attempt);
      std::string id;
      const absl::Status made = Repeat("CreateContainer", [&](CriClient& client) {
        const auto answer = client.CreateContainer(pod_, config, config_);
        if (answer.ok()) {
          if (!id.empty() && id != *answer)
            Complain("CreateContainer", absl::DataLossError("two ids"));
          id = *answer;
        }
        return answer.status();
      });
      if (!made.ok()) return Complain("CreateContainer", made);
      load_->SawId(id, absl::StrCat(name_, "#", run_, "/", name, "/", attempt));
      if (Chance(10)) continue;  // never started; its pod's removal takes it
      const absl::Status started =
          Repeat("StartContainer", [&](CriClient& client) { return client.StartContainer(id); });
      // A retry may come after the end of one that is short-lived.
      const bool runs = config.command(0) == "sleep";
      const bool may_have_ended = !runs || load_->options_.kills;
      if (!started.ok() && !(may_have_ended && absl::IsFailedPrecondition(started))) {
        Complain("StartContainer", started);
      }
      if (started.ok() && runs) Probe(id);
      if (Chance(2)) StopContainer(id, runs);
      if (Chance(2)) {
        Expect("RemoveContainer", Repeat("RemoveContainer", [&](CriClient& client) {
                 return client.RemoveContainer(id);
               }));
      }
    }
  }

  void Probe(const std::string& id) {
    const int probes = Draw(4);
    for (int i = 0; i < probes; ++i) {
      load_->Count("exec probes");
      const bool slow = Chance(12);
      const absl::Status status = Repeat("ExecSync", [&](CriClient& client) {
        const auto answer = client.ExecSync(
            id, slow ? std::vector<std::string>{"sleep", "1000"} : std::vector<std::string>{"true"},
            1);
        return answer.status();
      });
      const bool as_wanted = slow ? absl::IsDeadlineExceeded(status) : status.ok();
      // A loaded machine may need more than the probe's second.
      if (!as_wanted && !absl::IsDeadlineExceeded(status)) Complain("ExecSync", status);
    }
  }

  void StopContainer(const std::string& id, bool runs) {
    Expect("StopContainer", Repeat("StopContainer", [&](CriClient& client) {
             return client.StopContainer(id, Chance(3) ? 1 : 0);
           }));
    absl::StatusOr<cri::ContainerStatus> status = absl::UnknownError("");
    Repeat("ContainerStatus", [&](CriClient& client) {
      status = client.ContainerStatus(id);
      return status.status();
    }).IgnoreError();
    if (!status.ok()) return Complain("ContainerStatus", status.status());
    if (status->state() == cri::CONTAINER_RUNNING ||
        (runs && !load_->options_.kills && status->state() != cri::CONTAINER_EXITED)) {
      Complain("ContainerStatus after a stop", absl::InternalError(status->ShortDebugString()));
    }
  }

  // Creations and starts on the one side, the pod's removal on the other.
  void RemoveWhileCreating() {
    load_->Count("removals while creating");
    std::vector<cri::ContainerConfig> configs;
    configs.reserve(3);
    for (int i = 0; i < 3; ++i) configs.push_back(ContainerConfig(absl::StrCat("r", i), 0));
    const absl::Duration delay = absl::Microseconds(Draw(15000));
    const int end = Draw(4);
    std::vector<std::thread> threads;
    threads.reserve(configs.size());
    for (const cri::ContainerConfig& config : configs) {
      threads.emplace_back([this, &config] {
        const auto made = patient_.CreateContainer(pod_, config, config_);
        if (!FairInARace(made.status())) Complain("CreateContainer in a race", made.status());
        if (!made.ok()) return;
        const absl::Status started = patient_.StartContainer(*made);
        if (!FairInARace(started)) Complain("StartContainer in a race", started);
        if (made->back() % 2 == 0) return;
        const absl::Status removed = patient_.RemoveContainer(*made);
        if (!FairInARace(removed)) Complain("RemoveContainer in a race", removed);
      });
    }
    absl::SleepFor(delay);
    // RemovePod() comes after it in any case.
    if (end == 0) {
      load_->Count("keepers killed");
      if (const pid_t keeper = KeeperPid(); keeper > 1) kill(keeper, SIGKILL);
    } else {
      const absl::Status first = end == 1 ? patient_.StopPod(pod_) : patient_.RemovePod(pod_);
      if (!FairInARace(first)) Complain("the pod's end in a race", first);
    }
    for (std::thread& thread : threads) thread.join();
  }

  pid_t KeeperPid() {
    pid_t keeper = 0;
    Repeat("PodSandboxStatus", [&](CriClient& client) {
      const auto status = client.PodStatus(pod_, /*verbose=*/true);
      if (status.ok()) keeper = PidIn(status->info().at("info"));
      return status.status();
    }).IgnoreError();
    if (keeper <= 1) load_->Complain(name_ + ": no keeper's pid in the verbose status");
    return keeper;
  }

  void KillKeeper() {
    load_->Count("keepers killed");
    RunContainer("k");
    const pid_t keeper = KeeperPid();
    if (keeper <= 1) return;
    kill(keeper, SIGKILL);
    if (Chance(2)) return;  // the removal races with the news of its death
    const absl::Time deadline = absl::Now() + kPatience;
    bool ready = true;
    while (ready && absl::Now() < deadline) {
      Repeat("PodSandboxStatus", [&](CriClient& client) {
        const auto status = client.PodStatus(pod_);
        ready = status.ok() && status->status().state() == cri::SANDBOX_READY;
        return status.status();
      }).IgnoreError();
      if (ready) absl::SleepFor(absl::Milliseconds(5));
    }
    if (ready) load_->Complain(name_ + ": still ready without its keeper");
  }

  KubeletLoad* const load_;
  std::mt19937_64& random_;
  std::vector<std::unique_ptr<CriClient>>& hasty_;
  CriClient& patient_;
  const std::string name_;
  cri::PodSandboxConfig config_;
  std::string pod_;
  int run_ = 0;
};

KubeletLoad::KubeletLoad(LoadOptions options) : options_(std::move(options)) {}

KubeletLoad::~KubeletLoad() { Abandon(); }

void KubeletLoad::Start() {
  for (int i = 0; i < options_.workers; ++i) threads_.emplace_back([this, i] { Work(i); });
  threads_.emplace_back([this] { List(); });
  if (!options_.other_image.empty()) threads_.emplace_back([this] { Pull(); });
}

void KubeletLoad::Stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void KubeletLoad::Abandon() {
  abandoned_ = true;
  Stop();
}

void KubeletLoad::Work(int index) {
  std::mt19937_64 random(options_.seed * 1000 + static_cast<uint64_t>(index));
  CriClient patient(options_.socket);
  std::vector<std::unique_ptr<CriClient>> hasty;
  for (const int milliseconds : {1, 4, 15, 60}) {
    hasty.push_back(std::make_unique<CriClient>(options_.socket, absl::Milliseconds(milliseconds)));
  }
  for (int i = 0; !stopping_; ++i) {
    Episode(this, &random, &hasty, &patient, absl::StrCat("s", options_.seed, "-", index, "-", i))
        .Run();
  }
}

// Lists are served during everything.
void KubeletLoad::List() {
  CriClient client(options_.socket, absl::Seconds(20));
  while (!stopping_) {
    const auto pods = client.ListPods();
    const auto containers = client.ListContainers();
    for (const absl::Status& status : {pods.status(), containers.status()}) {
      if (!status.ok() && !(options_.kills && Repeatable(status))) {
        Complain(absl::StrCat("list: ", status.ToString()));
      }
    }
    if (pods.ok()) {
      std::set<std::string> ids;
      int64_t last = 0;
      for (const cri::PodSandbox& pod : *pods) {
        if (!ids.insert(pod.id()).second) Complain("listed twice: " + pod.id());
        if (pod.created_at() <= last) Complain("created_at does not increase: " + pod.id());
        last = pod.created_at();
      }
    }
    Count("lists");
    absl::SleepFor(absl::Milliseconds(10));
  }
}

void KubeletLoad::Pull() {
  CriClient client(options_.socket, absl::Seconds(60));
  while (!stopping_) {
    for (const absl::Status& status : {client.PullImage(options_.other_image).status(),
                                       client.RemoveImage(options_.other_image)}) {
      if (!status.ok() && !(options_.kills && Repeatable(status))) {
        Complain(absl::StrCat("image: ", status.ToString()));
      }
    }
    Count("pulls");
    absl::SleepFor(absl::Milliseconds(50));
  }
  // The last one may have found nobody.
  const absl::Time deadline = absl::Now() + kPatience;
  while (!client.RemoveImage(options_.other_image).ok() && absl::Now() < deadline && !abandoned_) {
    absl::SleepFor(absl::Milliseconds(20));
  }
}

void KubeletLoad::Complain(const std::string& what) {
  if (abandoned_) return;
  constexpr size_t kMost = 40;
  MutexLock lock(&mu_);
  if (complaints_.size() < kMost) complaints_.push_back(what);
}

void KubeletLoad::Count(const std::string& what) {
  MutexLock lock(&mu_);
  ++counts_[what];
}

void KubeletLoad::SawId(const std::string& id, const std::string& name) {
  {
    MutexLock lock(&mu_);
    const auto [position, inserted] = names_by_id_.try_emplace(id, name);
    if (inserted || position->second == name) return;
  }
  Complain(absl::StrCat("the id ", id, " belongs to ", name, " and to another"));
}

std::vector<std::string> KubeletLoad::complaints() const {
  MutexLock lock(&mu_);
  return complaints_;
}

std::map<std::string, int> KubeletLoad::counts() const {
  MutexLock lock(&mu_);
  return counts_;
}

}  // namespace berth::testing
