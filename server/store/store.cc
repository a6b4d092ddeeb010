#include "server/store/store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/status.h"
#include "server/store/reconcile.h"
#include "server/store/record_table.h"

namespace berth {
namespace {

using store::v1::ContainerRecord;
using store::v1::PodRecord;

// Marks in the database.
constexpr char kLoaded[] = "loaded";                  // the tables have been in use
constexpr char kLastCreatedAt[] = "last_created_at";  // at least that of every removed record

// Ids become names of files.
absl::Status CheckId(absl::string_view kind, absl::string_view id) {
  const bool hex = std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (hex && id.size() == 64) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(kind, " id \"", id, "\" is not 64 lower-case hex digits"));
}

// What tells of something that has happened already: no failing disk can undo it.
bool IsFact(const PodRecord& record) {
  return record.state() == store::v1::POD_STATE_NOTREADY ||
         record.state() == store::v1::POD_STATE_REMOVING;
}
bool IsFact(const ContainerRecord& record) {
  return record.state() == store::v1::CONTAINER_STATE_EXITED ||
         record.state() == store::v1::CONTAINER_STATE_UNKNOWN;
}

void LogIgnored(const absl::Status& status, absl::string_view what, absl::string_view id) {
  if (!status.ok()) LogError(what, " ", id, ": ", status.message(), ", ignoring");
}

template <typename Ptr>
void SortByCreation(std::vector<Ptr>* records) {
  std::sort(records->begin(), records->end(),
            [](const Ptr& a, const Ptr& b) { return a->created_at_ns() < b->created_at_ns(); });
}

template <typename Id, typename Ptr>
absl::StatusOr<Ptr> FindByPrefix(const absl::btree_map<Id, Ptr>& records, absl::string_view kind,
                                 absl::string_view prefix) {
  auto it = records.lower_bound(Id(std::string(prefix)));
  if (prefix.empty() || it == records.end() || !absl::StartsWith(it->first.str(), prefix)) {
    return absl::NotFoundError(absl::StrCat(kind, " ", prefix, " does not exist"));
  }
  const Ptr found = it->second;
  if (++it != records.end() && absl::StartsWith(it->first.str(), prefix)) {
    return absl::InvalidArgumentError(
        absl::StrCat("several ", kind, "s have an id that begins with ", prefix));
  }
  return found;
}

}  // namespace

// ---- Open

absl::StatusOr<std::unique_ptr<Store>> Store::Open(Database* database, const std::string& state_dir,
                                                   const InstanceId& instance, Report* report) {
  std::unique_ptr<Store> store(new Store(database, state_dir));
  RETURN_IF_ERROR_WITH(store->copies_.Prepare(), "open the store");
  RETURN_IF_ERROR_WITH(RecordTable::Migrate(database), "open the store");
  Report unused;
  RETURN_IF_ERROR_WITH(store->Load(instance, report != nullptr ? report : &unused),
                       "load the store");
  return store;
}

absl::Status Store::Load(const InstanceId& instance, Report* report) {
  ASSIGN_OR_RETURN(RecordCopies::All copies, copies_.Load());
  ASSIGN_OR_RETURN(Transaction tx, database_->Write(Durability::kFull));
  ASSIGN_OR_RETURN(const int64_t loaded, GetMark(&tx, kLoaded, 0));
  ASSIGN_OR_RETURN(int64_t last, GetMark(&tx, kLastCreatedAt, 0));
  ASSIGN_OR_RETURN(const auto pod_rows, RecordTable::Pods().Load(&tx));
  ASSIGN_OR_RETURN(const auto container_rows, RecordTable::Containers().Load(&tx));
  const ReconciledStore found =
      Reconcile(pod_rows, container_rows, std::move(copies), instance, loaded == 0);

  const auto mend_rows = [&tx](const RecordTable& table, const auto& reconciled) -> absl::Status {
    for (int64_t key : reconciled.remove_rows) RETURN_IF_ERROR(table.Remove(&tx, key));
    for (const auto& record : reconciled.put_rows) {
      RETURN_IF_ERROR(
          table.Put(&tx, record.created_at_ns(), record.id(), record.SerializeAsString()));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(mend_rows(RecordTable::Pods(), found.pods));
  RETURN_IF_ERROR(mend_rows(RecordTable::Containers(), found.containers));
  if (loaded == 0) RETURN_IF_ERROR(PutMark(&tx, kLoaded, 1));
  RETURN_IF_ERROR(tx.Commit());

  for (const PodRecord& pod : found.pods.remove_copies) {
    LogIgnored(copies_.RemovePod(PodId(pod.id())), "remove the copy of pod", pod.id());
  }
  for (const ContainerRecord& c : found.containers.remove_copies) {
    LogIgnored(copies_.RemoveContainer(PodId(c.pod_id()), ContainerId(c.id())),
               "remove the copy of container", c.id());
  }
  for (const PodRecord& pod : found.pods.put_copies) {
    LogIgnored(copies_.Write(pod), "copy the record of pod", pod.id());
  }
  for (const ContainerRecord& container : found.containers.put_copies) {
    LogIgnored(copies_.Write(container), "copy the record of container", container.id());
  }

  MutexLock lock(&mu_);
  for (const PodRecord& pod : found.pods.records) {
    last = std::max(last, pod.created_at_ns());
    pods_.emplace(PodId(pod.id()), std::make_shared<const PodRecord>(pod));
  }
  for (const ContainerRecord& container : found.containers.records) {
    last = std::max(last, container.created_at_ns());
    containers_.emplace(ContainerId(container.id()),
                        std::make_shared<const ContainerRecord>(container));
  }
  issued_created_at_ns_ = last;
  report->from_copies = found.pods.from_copies + found.containers.from_copies;
  report->lost = found.pods.lost + found.containers.lost;
  report->rebuilt = loaded == 0 && report->from_copies > 0;
  return absl::OkStatus();
}

// ---- Reads

PodRecordPtr Store::Pod(const PodId& id) const {
  MutexLock lock(&mu_);
  const auto it = pods_.find(id);
  return it == pods_.end() ? nullptr : it->second;
}

ContainerRecordPtr Store::Container(const ContainerId& id) const {
  MutexLock lock(&mu_);
  const auto it = containers_.find(id);
  return it == containers_.end() ? nullptr : it->second;
}

std::vector<PodRecordPtr> Store::Pods() const {
  std::vector<PodRecordPtr> records;
  {
    MutexLock lock(&mu_);
    records.reserve(pods_.size());
    for (const auto& [id, record] : pods_) records.push_back(record);
  }
  SortByCreation(&records);
  return records;
}

std::vector<ContainerRecordPtr> Store::Containers() const {
  std::vector<ContainerRecordPtr> records;
  {
    MutexLock lock(&mu_);
    records.reserve(containers_.size());
    for (const auto& [id, record] : containers_) records.push_back(record);
  }
  SortByCreation(&records);
  return records;
}

std::vector<ContainerRecordPtr> Store::ContainersOf(const PodId& pod) const {
  std::vector<ContainerRecordPtr> records;
  {
    MutexLock lock(&mu_);
    for (const auto& [id, record] : containers_) {
      if (record->pod_id() == pod.str()) records.push_back(record);
    }
  }
  SortByCreation(&records);
  return records;
}

absl::StatusOr<PodRecordPtr> Store::FindPod(absl::string_view prefix) const {
  MutexLock lock(&mu_);
  return FindByPrefix(pods_, "pod sandbox", prefix);
}

absl::StatusOr<ContainerRecordPtr> Store::FindContainer(absl::string_view prefix) const {
  MutexLock lock(&mu_);
  return FindByPrefix(containers_, "container", prefix);
}

int64_t Store::NextCreatedAt() {
  const int64_t now = absl::ToUnixNanos(WallNow());
  MutexLock lock(&mu_);
  issued_created_at_ns_ = std::max(now, issued_created_at_ns_ + 1);
  return issued_created_at_ns_;
}

// ---- Puts

absl::Status Store::CheckPut(const PodRecord& record, const PodRecordPtr& old) const {
  RETURN_IF_ERROR(CheckId("pod sandbox", record.id()));
  if (old != nullptr && old->created_at_ns() != record.created_at_ns()) {
    return absl::InvalidArgumentError("created_at changes");
  }
  return CheckPodTransition(old == nullptr ? store::v1::POD_STATE_UNSPECIFIED : old->state(),
                            record.state());
}

absl::Status Store::CheckPut(const ContainerRecord& record, const ContainerRecordPtr& old) const {
  RETURN_IF_ERROR(CheckId("container", record.id()));
  if (old != nullptr && old->created_at_ns() != record.created_at_ns()) {
    return absl::InvalidArgumentError("created_at changes");
  }
  if (old != nullptr && old->pod_id() != record.pod_id()) {
    return absl::FailedPreconditionError("its pod sandbox changes");
  }
  if (Pod(PodId(record.pod_id())) == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("pod sandbox ", record.pod_id(), " does not exist"));
  }
  return CheckContainerTransition(
      old == nullptr ? store::v1::CONTAINER_STATE_UNSPECIFIED : old->state(), record.state());
}

// Two records with one created_at would share a row.
absl::Status Store::CheckNew(int64_t created_at_ns) const {
  MutexLock lock(&mu_);
  if (created_at_ns > 0 && created_at_ns <= issued_created_at_ns_) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("created_at ", created_at_ns, " was not issued by the store"));
}

void Store::Publish(PodRecordPtr record) {
  MutexLock lock(&mu_);
  stale_pods_.erase(record->created_at_ns());
  PodRecordPtr& shown = pods_[PodId(record->id())];
  const PodRecordPtr before = std::exchange(shown, std::move(record));
  for (StoreListener* listener : listeners_) listener->OnPod(before, shown);
}

void Store::Publish(ContainerRecordPtr record) {
  MutexLock lock(&mu_);
  stale_containers_.erase(record->created_at_ns());
  ContainerRecordPtr& shown = containers_[ContainerId(record->id())];
  const ContainerRecordPtr before = std::exchange(shown, std::move(record));
  for (StoreListener* listener : listeners_) listener->OnContainer(before, shown);
}

void Store::Drop(const PodRecordPtr& pod) {
  stale_pods_.erase(pod->created_at_ns());
  if (pods_.erase(PodId(pod->id())) == 0) return;
  for (StoreListener* listener : listeners_) listener->OnPod(pod, nullptr);
}

void Store::Drop(const ContainerRecordPtr& container) {
  stale_containers_.erase(container->created_at_ns());
  if (containers_.erase(ContainerId(container->id())) == 0) return;
  for (StoreListener* listener : listeners_) listener->OnContainer(container, nullptr);
}

void Store::AddListener(StoreListener* listener) {
  MutexLock lock(&mu_);
  listeners_.push_back(listener);
}

// What a put of `record` over `old` would be: OK, and the record's revision is set.
template <typename Record, typename Ptr>
absl::Status Store::PreparePut(Record* record, const Ptr& old) const {
  RETURN_IF_ERROR(CheckPut(*record, old));
  if (old == nullptr) {
    RETURN_IF_ERROR(CheckNew(record->created_at_ns()));
  } else if (record->revision() != 0 && record->revision() != old->revision()) {
    return absl::AbortedError(absl::StrCat("it changed meanwhile, from revision ",
                                           record->revision(), " to ", old->revision()));
  }
  record->set_revision(old == nullptr ? 1 : old->revision() + 1);
  return absl::OkStatus();
}

absl::Status Store::PutPod(PodRecord record, Durability durability) {
  const PodId id(record.id());
  const std::string context = absl::StrCat("put pod sandbox ", record.id());
  std::shared_ptr<const PodRecord> shared;
  absl::Status legal;
  const auto publish = [&] {
    Publish(shared);
    LogIgnored(copies_.Write(*shared), "copy the record of pod sandbox", id.str());
  };
  const absl::Status status = Commit(
      durability,
      [&](Transaction* tx) -> absl::Status {
        // No other put comes before the transaction's end.
        const PodRecordPtr old = Pod(id);
        legal = PreparePut(&record, old);
        RETURN_IF_ERROR(legal);
        shared = std::make_shared<const PodRecord>(record);
        RETURN_IF_ERROR(Failpoint("store.put_pod"));
        const RecordTable table = RecordTable::Pods();
        const std::string bytes = shared->SerializeAsString();
        return old == nullptr ? table.Add(tx, shared->created_at_ns(), id.str(), bytes)
                              : table.Put(tx, shared->created_at_ns(), id.str(), bytes);
      },
      publish);
  RETURN_IF_ERROR_WITH(legal, context);
  if (!status.ok()) {
    if (!IsFact(record)) return Annotate(status, context);
    if (shared == nullptr) {
      RETURN_IF_ERROR_WITH(PreparePut(&record, Pod(id)), context);
      shared = std::make_shared<const PodRecord>(record);
    }
    LogIgnored(status, "put pod sandbox", id.str());
    publish();
    MutexLock lock(&mu_);
    stale_pods_[shared->created_at_ns()] = {id, ++stale_mark_};
  }
  return absl::OkStatus();
}

absl::Status Store::PutContainer(ContainerRecord record, Durability durability) {
  const ContainerId id(record.id());
  const std::string context = absl::StrCat("put container ", record.id());
  std::shared_ptr<const ContainerRecord> shared;
  absl::Status legal;
  const auto publish = [&] {
    Publish(shared);
    LogIgnored(copies_.Write(*shared), "copy the record of container", id.str());
  };
  const absl::Status status = Commit(
      durability,
      [&](Transaction* tx) -> absl::Status {
        const ContainerRecordPtr old = Container(id);
        legal = PreparePut(&record, old);
        RETURN_IF_ERROR(legal);
        shared = std::make_shared<const ContainerRecord>(record);
        RETURN_IF_ERROR(Failpoint("store.put_container"));
        const RecordTable table = RecordTable::Containers();
        const std::string bytes = shared->SerializeAsString();
        return old == nullptr ? table.Add(tx, shared->created_at_ns(), id.str(), bytes)
                              : table.Put(tx, shared->created_at_ns(), id.str(), bytes);
      },
      publish);
  RETURN_IF_ERROR_WITH(legal, context);
  if (!status.ok()) {
    if (!IsFact(record)) return Annotate(status, context);
    if (shared == nullptr) {
      RETURN_IF_ERROR_WITH(PreparePut(&record, Container(id)), context);
      shared = std::make_shared<const ContainerRecord>(record);
    }
    LogIgnored(status, "put container", id.str());
    publish();
    MutexLock lock(&mu_);
    stale_containers_[shared->created_at_ns()] = {id, ++stale_mark_};
  }
  return absl::OkStatus();
}

absl::Status Store::UpdatePod(const PodId& id, absl::FunctionRef<bool(PodRecord*)> change) {
  while (true) {
    const PodRecordPtr old = Pod(id);
    if (old == nullptr) return absl::OkStatus();
    PodRecord record = *old;
    if (!change(&record)) return absl::OkStatus();
    const absl::Status status = PutPod(std::move(record), Durability::kNormal);
    if (!absl::IsAborted(status)) return status;
  }
}

absl::Status Store::UpdateContainer(const ContainerId& id,
                                    absl::FunctionRef<bool(ContainerRecord*)> change) {
  while (true) {
    const ContainerRecordPtr old = Container(id);
    if (old == nullptr) return absl::OkStatus();
    ContainerRecord record = *old;
    if (!change(&record)) return absl::OkStatus();
    const absl::Status status = PutContainer(std::move(record), Durability::kNormal);
    if (!absl::IsAborted(status)) return status;
  }
}

// ---- Removals

absl::Status Store::RemovePod(const PodId& id, Durability durability) {
  const PodRecordPtr pod = Pod(id);
  if (pod == nullptr) return absl::OkStatus();
  const std::string context = absl::StrCat("remove pod sandbox ", id.str());
  RETURN_IF_ERROR_WITH(CheckPodTransition(pod->state(), store::v1::POD_STATE_UNSPECIFIED), context);
  const std::vector<ContainerRecordPtr> containers = ContainersOf(id);
  for (const ContainerRecordPtr& container : containers) {
    RETURN_IF_ERROR_WITH(
        CheckContainerTransition(container->state(), store::v1::CONTAINER_STATE_UNSPECIFIED),
        absl::StrCat(context, ": container ", container->id()));
  }
  const auto publish = [&] {
    {
      MutexLock lock(&mu_);
      for (const ContainerRecordPtr& container : containers) Drop(container);
      Drop(pod);
    }
    LogIgnored(copies_.RemovePod(id), "remove the copy of pod sandbox", id.str());
  };
  const int64_t last =
      containers.empty() ? pod->created_at_ns() : containers.back()->created_at_ns();
  const absl::Status status = Commit(
      durability,
      [&](Transaction* tx) -> absl::Status {
        RETURN_IF_ERROR(Failpoint("store.remove_pod"));
        for (const ContainerRecordPtr& container : containers) {
          RETURN_IF_ERROR(RecordTable::Containers().Remove(tx, container->created_at_ns()));
        }
        RETURN_IF_ERROR(RecordTable::Pods().Remove(tx, pod->created_at_ns()));
        return RaiseMark(tx, kLastCreatedAt, last);
      },
      publish);
  if (!status.ok()) {
    LogIgnored(status, "remove pod sandbox", id.str());
    publish();
    MutexLock lock(&mu_);
    stale_pods_[pod->created_at_ns()] = {id, ++stale_mark_};
    for (const ContainerRecordPtr& container : containers) {
      stale_containers_[container->created_at_ns()] = {ContainerId(container->id()), ++stale_mark_};
    }
  }
  return absl::OkStatus();
}

absl::Status Store::RemoveContainer(const ContainerId& id, Durability durability) {
  const ContainerRecordPtr container = Container(id);
  if (container == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR_WITH(
      CheckContainerTransition(container->state(), store::v1::CONTAINER_STATE_UNSPECIFIED),
      absl::StrCat("remove container ", id.str()));
  const auto publish = [&] {
    {
      MutexLock lock(&mu_);
      Drop(container);
    }
    LogIgnored(copies_.RemoveContainer(PodId(container->pod_id()), id),
               "remove the copy of container", id.str());
  };
  const absl::Status status = Commit(
      durability,
      [&](Transaction* tx) -> absl::Status {
        RETURN_IF_ERROR(Failpoint("store.remove_container"));
        RETURN_IF_ERROR(RecordTable::Containers().Remove(tx, container->created_at_ns()));
        return RaiseMark(tx, kLastCreatedAt, container->created_at_ns());
      },
      publish);
  if (!status.ok()) {
    LogIgnored(status, "remove container", id.str());
    publish();
    MutexLock lock(&mu_);
    stale_containers_[container->created_at_ns()] = {id, ++stale_mark_};
  }
  return absl::OkStatus();
}

// ---- The one way into the database

absl::Status Store::Commit(Durability durability,
                           absl::FunctionRef<absl::Status(Transaction*)> change,
                           absl::FunctionRef<void()> publish) {
  ASSIGN_OR_RETURN(Transaction tx, database_->Write(durability));
  StaleRows<PodId> pods;
  StaleRows<ContainerId> containers;
  {
    MutexLock lock(&mu_);
    pods = stale_pods_;
    containers = stale_containers_;
  }
  RETURN_IF_ERROR(WriteStale(&tx, pods, containers));
  RETURN_IF_ERROR(change(&tx));
  RETURN_IF_ERROR(tx.Commit());
  ForgetStale(pods, containers);
  // The transaction still keeps other writers out: what they see as stale is stale.
  publish();
  return absl::OkStatus();
}

absl::Status Store::WriteStale(Transaction* tx, const StaleRows<PodId>& pods,
                               const StaleRows<ContainerId>& containers) const {
  for (const auto& [key, stale] : pods) {
    const PodRecordPtr record = Pod(stale.id);
    RETURN_IF_ERROR(record == nullptr ? RecordTable::Pods().Remove(tx, key)
                                      : RecordTable::Pods().Put(tx, key, record->id(),
                                                                record->SerializeAsString()));
  }
  for (const auto& [key, stale] : containers) {
    const ContainerRecordPtr record = Container(stale.id);
    RETURN_IF_ERROR(record == nullptr ? RecordTable::Containers().Remove(tx, key)
                                      : RecordTable::Containers().Put(tx, key, record->id(),
                                                                      record->SerializeAsString()));
  }
  return absl::OkStatus();
}

void Store::ForgetStale(const StaleRows<PodId>& pods, const StaleRows<ContainerId>& containers) {
  MutexLock lock(&mu_);
  for (const auto& [key, stale] : pods) {
    const auto it = stale_pods_.find(key);
    if (it != stale_pods_.end() && it->second.mark == stale.mark) stale_pods_.erase(it);
  }
  for (const auto& [key, stale] : containers) {
    const auto it = stale_containers_.find(key);
    if (it != stale_containers_.end() && it->second.mark == stale.mark) {
      stale_containers_.erase(it);
    }
  }
}

}  // namespace berth
