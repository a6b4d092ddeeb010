// Which records are true after a restart: rows of the database against copies below STATE. Pure.
//
//   row     copy                  the record is                     mended by
//   whole   missing or not newer  the row                           writing the copy
//   whole   higher revision       the copy (the disk was full)      writing the row
//   damaged whole                 the copy                          writing the row
//   damaged missing               lost                              removing the row
//   none    whole, tables known   none (it was removed)             removing the copy
//   none    whole, tables new     the copy (the database was lost)  writing the row
//
// A copy of another instance counts as missing and is left alone. A container without its pod is
// lost.
#ifndef BERTH_SERVER_STORE_RECONCILE_H_
#define BERTH_SERVER_STORE_RECONCILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "proto/berth/store/v1/store.pb.h"
#include "server/store/record_copies.h"
#include "server/store/record_table.h"

namespace berth {

template <typename Record>
struct Reconciled {
  std::vector<Record> records;        // all that are true
  std::vector<Record> put_rows;       // those whose row is missing or behind
  std::vector<Record> put_copies;     // those whose copy is missing or behind
  std::vector<int64_t> remove_rows;   // keys of rows that go
  std::vector<Record> remove_copies;  // copies that go
  int from_copies = 0;
  int lost = 0;
};

struct ReconciledStore {
  Reconciled<store::v1::PodRecord> pods;
  Reconciled<store::v1::ContainerRecord> containers;
};

// `tables_are_new`: no store has ever been loaded from them.
ReconciledStore Reconcile(const std::vector<RecordTable::Row>& pod_rows,
                          const std::vector<RecordTable::Row>& container_rows,
                          RecordCopies::All copies, const InstanceId& instance,
                          bool tables_are_new);

}  // namespace berth

#endif  // BERTH_SERVER_STORE_RECONCILE_H_
