// The records of pods and containers: all of them in memory, each change in ROOT/state.db first.
//
// Vocabulary. A *record* is an immutable message that is replaced as a whole. To *put* it is to
// commit it and then to publish it. Its *copy* is a file below STATE, from which the store is
// rebuilt when the database is lost; copies share STATE's life: they end with the boot.
//
//   ASSIGN_OR_RETURN(auto store, Store::Open(database.get(), "/run/berth", instance, &report));
//   store::v1::PodRecord pod = ...;
//   pod.set_created_at_ns(store->NextCreatedAt());
//   RETURN_IF_ERROR(store->PutPod(pod, Durability::kNormal));
//   PodRecordPtr seen = store->Pod(PodId(pod.id()));  // or null
//
// Order of a put: the transition is checked, the database commits, memory shows it, the copy is
// written; then the next put begins. A crash before the commit leaves the old record, a crash after it the new one; the next
// Open mends the copy. Puts may come from any thread. One that was made from a record that another put
// has replaced meanwhile is Aborted: the record's revision tells.
//
// A full disk. What reports a fact (a pod NOTREADY, a container EXITED or UNKNOWN) and what removes
// always succeeds once its transition is legal: memory and the copy show it, the error is logged
// with
// ", ignoring", and the store tries again with every later put. If the daemon ends before that, the
// copy, having the higher revision, is believed at the next Open of the same boot. A power cut
// before that brings the old record back: the pod then has another boot id, so that nothing is
// believed to run. Everything else fails with ResourceExhausted and changes nothing.
//
// Records hold environment variables: the database and the copies have mode 0600, directories 0700.
#ifndef BERTH_SERVER_STORE_STORE_H_
#define BERTH_SERVER_STORE_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "base/sqlite.h"
#include "proto/berth/store/v1/store.pb.h"
#include "server/store/record_copies.h"
#include "server/store/transitions.h"

namespace berth {

using PodRecordPtr = std::shared_ptr<const store::v1::PodRecord>;
using ContainerRecordPtr = std::shared_ptr<const store::v1::ContainerRecord>;

// Is told of every change, in the order in which reads show them. Its methods are called with the
// store's lock held: they note what they need and return, and never call the store.
class StoreListener {
 public:
  virtual ~StoreListener() = default;
  // `before` is null for a new record, `after` for one that was removed. The containers that go with
  // their pod are told of before it.
  virtual void OnPod(const PodRecordPtr& before, const PodRecordPtr& after) = 0;
  virtual void OnContainer(const ContainerRecordPtr& before, const ContainerRecordPtr& after) = 0;
};

class Store {
 public:
  // What Open had to do beyond reading.
  struct Report {
    bool rebuilt = false;  // The tables were new and the records came from copies.
    int from_copies = 0;   // Records taken from their copies.
    int lost = 0;          // Records that were damaged and had no copy.
  };

  // Loads all records. `database` outlives the store; STATE is made if it is missing; `instance` is
  // the one of ROOT, which the pods' records carry. FailedPrecondition if the tables are newer than
  // this build. `report` may be null.
  static absl::StatusOr<std::unique_ptr<Store>> Open(Database* database,
                                                     const std::string& state_dir,
                                                     const InstanceId& instance, Report* report);

  // Reads: from memory, never waiting for a write. Null if there is no such record.
  PodRecordPtr Pod(const PodId& id) const;
  ContainerRecordPtr Container(const ContainerId& id) const;
  // In the order of created_at. Pods in every state, PREPARING and REMOVING too: the caller
  // filters.
  std::vector<PodRecordPtr> Pods() const;
  std::vector<ContainerRecordPtr> Containers() const;
  std::vector<ContainerRecordPtr> ContainersOf(const PodId& pod) const;
  // By id or unique prefix of one. NotFound, or InvalidArgument if several begin so.
  absl::StatusOr<PodRecordPtr> FindPod(absl::string_view prefix) const;
  absl::StatusOr<ContainerRecordPtr> FindContainer(absl::string_view prefix) const;

  // Nanoseconds since 1970, now or a little later: larger than of any record before, also across
  // restarts and clocks that are set back.
  int64_t NextCreatedAt();

  // Adds or replaces. InvalidArgument: an id that is not 64 hex digits, or a created_at that does
  // not come from NextCreatedAt or changes; FailedPrecondition: an illegal transition, or the
  // container's pod is not there or changes; Aborted: the record has a revision (it was read here), and
  // the store has another one by now. A revision of 0 replaces whatever is there. The new revision is
  // set here.
  absl::Status PutPod(store::v1::PodRecord record, Durability durability);
  absl::Status PutContainer(store::v1::ContainerRecord record, Durability durability);
  // Reads the record, lets `change` change it and puts it (kNormal), again if another put came in
  // between. OK without a put if there is no such record or `change` returns false.
  absl::Status UpdatePod(const PodId& id, absl::FunctionRef<bool(store::v1::PodRecord*)> change);
  absl::Status UpdateContainer(const ContainerId& id,
                               absl::FunctionRef<bool(store::v1::ContainerRecord*)> change);

  // Removes the pod, and with it, in the same commit, the containers that it still has.
  // FailedPrecondition if it is READY or one of them RUNNING; OK if it is not there.
  absl::Status RemovePod(const PodId& id, Durability durability = Durability::kFull);
  absl::Status RemoveContainer(const ContainerId& id, Durability durability = Durability::kFull);

  // From now on `listener`, which outlives the store or its last change, hears of every change. What
  // is there already is read before: at the daemon's start, while nothing changes.
  void AddListener(StoreListener* listener);

  // For the specifications of containers (RecordCopies::WriteSpec).
  const RecordCopies& copies() const { return copies_; }

 private:
  // A row that is behind memory because a write failed; `mark` tells a later failure from this one.
  template <typename Id>
  struct Stale {
    Id id;
    uint64_t mark = 0;
  };
  template <typename Id>
  using StaleRows = absl::flat_hash_map<int64_t, Stale<Id>>;  // by created_at

  Store(Database* database, const std::string& state_dir)
      : database_(database), copies_(state_dir) {}

  absl::Status Load(const InstanceId& instance, Report* report);

  // Runs `change` and what is stale in one transaction, then `publish` before another write begins.
  absl::Status Commit(Durability durability, absl::FunctionRef<absl::Status(Transaction*)> change,
                      absl::FunctionRef<void()> publish);
  absl::Status WriteStale(Transaction* tx, const StaleRows<PodId>& pods,
                          const StaleRows<ContainerId>& containers) const;
  void ForgetStale(const StaleRows<PodId>& pods, const StaleRows<ContainerId>& containers);

  absl::Status CheckNew(int64_t created_at_ns) const;
  absl::Status CheckPut(const store::v1::PodRecord& record, const PodRecordPtr& old) const;
  absl::Status CheckPut(const store::v1::ContainerRecord& record,
                        const ContainerRecordPtr& old) const;
  template <typename Record, typename Ptr>
  absl::Status PreparePut(Record* record, const Ptr& old) const;
  void Publish(PodRecordPtr record);
  void Publish(ContainerRecordPtr record);
  // What a removal takes out of memory.
  void Drop(const PodRecordPtr& pod) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Drop(const ContainerRecordPtr& container) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Database* const database_;
  const RecordCopies copies_;

  mutable Mutex mu_;  // Never held over SQLite or a file.
  absl::btree_map<PodId, PodRecordPtr> pods_ ABSL_GUARDED_BY(mu_);
  absl::btree_map<ContainerId, ContainerRecordPtr> containers_ ABSL_GUARDED_BY(mu_);
  int64_t issued_created_at_ns_ ABSL_GUARDED_BY(mu_) = 0;  // by NextCreatedAt
  StaleRows<PodId> stale_pods_ ABSL_GUARDED_BY(mu_);
  StaleRows<ContainerId> stale_containers_ ABSL_GUARDED_BY(mu_);
  uint64_t stale_mark_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<StoreListener*> listeners_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_STORE_STORE_H_
