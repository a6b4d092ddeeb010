// Records as lists show them, serialised once for each change of a record.
//
// kubelet lists every pod and container of the node each second, and hardly any has changed. Making a message of each
// costs three microseconds, mostly for copies of labels and annotations; joining bytes costs a tenth.
#ifndef BERTH_SERVER_PODS_LIST_ITEMS_H_
#define BERTH_SERVER_PODS_LIST_ITEMS_H_

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "base/mutex.h"
#include "google/protobuf/message.h"
#include "google/protobuf/unknown_field_set.h"

namespace berth {

// `Record`: a record of the store, which makes a new one for each change. Thread-safe.
template <typename Record>
class ListItems {
 public:
  using RecordPtr = std::shared_ptr<const Record>;

  // `serialize` makes the item of a record.
  explicit ListItems(std::string (*serialize)(const Record&)) : serialize_(serialize) {}

  // Appends the items of those of `records` that are `wanted` to `field` of `response`, a repeated message. They
  // are there for serialisation only: as unknown fields, which are written like known ones. `records`: all of the
  // store's, since items of others are forgotten.
  void AddTo(google::protobuf::Message* response, int field, const std::vector<RecordPtr>& records,
             absl::FunctionRef<bool(const Record&)> wanted) {
    google::protobuf::UnknownFieldSet* items =
        response->GetReflection()->MutableUnknownFields(response);
    MutexLock lock(&mu_);
    const uint64_t list = ++lists_;
    size_t kept = 0;
    for (const RecordPtr& record : records) {
      auto it = items_.find(record.get());
      if (it != items_.end()) {
        it->second.list = list;
        ++kept;
      }
      if (!wanted(*record)) continue;
      if (it == items_.end()) {
        it = items_.emplace(record.get(), Item{record, serialize_(*record), list}).first;
        ++kept;
      }
      items->AddLengthDelimited(field, it->second.bytes);
    }
    if (kept < items_.size()) {
      std::erase_if(items_, [list](const auto& item) { return item.second.list != list; });
    }
  }

 private:
  struct Item {
    RecordPtr record;  // so that its address is nobody else's
    std::string bytes;
    uint64_t list;  // the last one that had it
  };

  std::string (*const serialize_)(const Record&);
  Mutex mu_;
  uint64_t lists_ ABSL_GUARDED_BY(mu_) = 0;
  std::unordered_map<const Record*, Item> items_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_SERVER_PODS_LIST_ITEMS_H_
