#include "server/store/reconcile.h"

#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace berth {
namespace {

using store::v1::ContainerRecord;
using store::v1::PodRecord;

template <typename Record>
bool ParseRow(const RecordTable::Row& row, Record* record) {
  return record->ParseFromString(row.record) && record->id() == row.id &&
         record->created_at_ns() == row.created_at_ns;
}

template <typename Record>
Reconciled<Record> ReconcileTable(const std::vector<RecordTable::Row>& rows,
                                  std::vector<Record> copies, bool tables_are_new) {
  Reconciled<Record> result;
  absl::btree_map<int64_t, Record> unclaimed;
  for (Record& copy : copies) {
    const int64_t key = copy.created_at_ns();
    unclaimed.emplace(key, std::move(copy));
  }
  const auto take_copy = [&](const Record& copy) {
    result.records.push_back(copy);
    result.put_rows.push_back(copy);
    ++result.from_copies;
  };
  for (const RecordTable::Row& row : rows) {
    Record record;
    const bool whole = ParseRow(row, &record);
    const auto copy = unclaimed.find(row.created_at_ns);
    const bool copied = copy != unclaimed.end() && copy->second.id() == row.id;
    if (copied && (!whole || copy->second.revision() > record.revision())) {
      take_copy(copy->second);
    } else if (whole) {
      if (!copied || copy->second.revision() < record.revision()) {
        result.put_copies.push_back(record);
      }
      result.records.push_back(std::move(record));
    } else {
      LogError("record of ", row.id, " is damaged and has no copy, ignoring");
      result.remove_rows.push_back(row.created_at_ns);
      ++result.lost;
    }
    if (copied) unclaimed.erase(copy);
  }
  for (auto& [key, copy] : unclaimed) {
    if (tables_are_new) {
      take_copy(copy);
    } else {
      result.remove_copies.push_back(std::move(copy));
    }
  }
  return result;
}

// A container whose pod is not there can't be listed, stopped or removed through it.
void DropOrphans(const Reconciled<PodRecord>& pods, Reconciled<ContainerRecord>* containers) {
  absl::flat_hash_set<std::string> present;
  for (const PodRecord& pod : pods.records) present.insert(pod.id());
  const auto orphan = [&](const ContainerRecord& record) {
    return !present.contains(record.pod_id());
  };
  for (const ContainerRecord& record : containers->records) {
    if (!orphan(record)) continue;
    LogError("container ", record.id(), " has no pod ", record.pod_id(), ", ignoring");
    containers->remove_rows.push_back(record.created_at_ns());
    containers->remove_copies.push_back(record);
    ++containers->lost;
  }
  std::erase_if(containers->records, orphan);
  std::erase_if(containers->put_rows, orphan);
  std::erase_if(containers->put_copies, orphan);
}

}  // namespace

ReconciledStore Reconcile(const std::vector<RecordTable::Row>& pod_rows,
                          const std::vector<RecordTable::Row>& container_rows,
                          RecordCopies::All copies, const InstanceId& instance,
                          bool tables_are_new) {
  absl::flat_hash_set<std::string> foreign;
  for (const PodRecord& pod : copies.pods) {
    if (pod.instance_id() != instance.str()) foreign.insert(pod.id());
  }
  std::erase_if(copies.pods, [&](const PodRecord& pod) { return foreign.contains(pod.id()); });
  std::erase_if(copies.containers, [&](const ContainerRecord& container) {
    return foreign.contains(container.pod_id());
  });
  ReconciledStore result;
  result.pods = ReconcileTable(pod_rows, std::move(copies.pods), tables_are_new);
  result.containers = ReconcileTable(container_rows, std::move(copies.containers), tables_are_new);
  DropOrphans(result.pods, &result.containers);
  return result;
}

}  // namespace berth
