#include "snapshotter/layer_index.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace berth {
namespace {

absl::Status Missing(absl::string_view what) {
  return absl::NotFoundError(absl::StrCat("layer ", what, " is not there"));
}

}  // namespace

std::vector<DiffId> TopmostOnly(absl::Span<const DiffId> layers) {
  std::vector<DiffId> kept;
  absl::btree_set<DiffId> seen;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    if (seen.insert(*layer).second) kept.push_back(*layer);
  }
  std::reverse(kept.begin(), kept.end());
  return kept;
}

void LayerIndex::Add(const LayerRecord& record, bool pinned) {
  MutexLock lock(&mu_);
  layers_[record.info.generation] = {record, pinned ? 1 : 0, false};
}

// A few hundred layers at most: a scan takes microseconds and there is no second map to keep right.
LayerIndex::Entry* LayerIndex::Newest(const DiffId& layer) {
  Entry* newest = nullptr;
  for (auto& [generation, entry] : layers_) {
    if (entry.record.info.diff_id != layer || entry.record.retired || entry.condemned) continue;
    if (newest == nullptr || entry.record.info.created > newest->record.info.created) {
      newest = &entry;
    }
  }
  return newest;
}

absl::StatusOr<LayerRecord> LayerIndex::Get(const LayerGeneration& generation) const {
  MutexLock lock(&mu_);
  const auto found = layers_.find(generation);
  if (found == layers_.end()) return Missing(generation.str());
  return found->second.record;
}

absl::StatusOr<std::vector<LayerRecord>> LayerIndex::Pin(absl::Span<const DiffId> layers) {
  MutexLock lock(&mu_);
  std::vector<Entry*> entries;
  for (const DiffId& layer : layers) {
    entries.push_back(Newest(layer));
    if (entries.back() == nullptr) return Missing(layer.str());
  }
  std::vector<LayerRecord> records;
  for (Entry* entry : entries) {
    ++entry->pins;
    records.push_back(entry->record);
  }
  return records;
}

absl::Status LayerIndex::PinGenerations(absl::Span<const LayerGeneration> generations) {
  MutexLock lock(&mu_);
  for (const LayerGeneration& generation : generations) {
    if (!layers_.contains(generation)) return Missing(generation.str());
  }
  for (const LayerGeneration& generation : generations) ++layers_[generation].pins;
  return absl::OkStatus();
}

void LayerIndex::Unpin(absl::Span<const LayerGeneration> generations) {
  MutexLock lock(&mu_);
  for (const LayerGeneration& generation : generations) {
    const auto found = layers_.find(generation);
    if (found != layers_.end()) --found->second.pins;
  }
}

void LayerIndex::Retire(const LayerGeneration& generation) {
  MutexLock lock(&mu_);
  const auto found = layers_.find(generation);
  if (found != layers_.end()) found->second.record.retired = true;
}

absl::StatusOr<std::vector<DiffId>> LayerIndex::Reference(const std::string& owner,
                                                          absl::Span<const DiffId> layers,
                                                          bool check) {
  MutexLock lock(&mu_);
  for (const DiffId& layer : layers) {
    if (check && Newest(layer) == nullptr) return Missing(layer.str());
  }
  absl::btree_set<DiffId> now(layers.begin(), layers.end());
  std::vector<DiffId> before;
  const auto found = references_.find(owner);
  if (found != references_.end()) before.assign(found->second.begin(), found->second.end());
  if (now.empty()) {
    references_.erase(owner);
  } else {
    references_[owner] = std::move(now);
  }
  return before;
}

std::vector<std::string> LayerIndex::Owners() const {
  MutexLock lock(&mu_);
  std::vector<std::string> owners;
  for (const auto& [owner, layers] : references_) owners.push_back(owner);
  return owners;
}

std::vector<LayerGeneration> LayerIndex::Condemn() {
  MutexLock lock(&mu_);
  absl::btree_set<LayerGeneration> needed;
  for (const auto& [owner, layers] : references_) {
    for (const DiffId& layer : layers) {
      if (const Entry* newest = Newest(layer)) needed.insert(newest->record.info.generation);
    }
  }
  std::vector<LayerGeneration> condemned;
  for (auto& [generation, entry] : layers_) {
    if (entry.condemned || entry.pins > 0 || needed.contains(generation)) continue;
    entry.condemned = true;
    condemned.push_back(generation);
  }
  return condemned;
}

void LayerIndex::Forget(absl::Span<const LayerGeneration> generations) {
  MutexLock lock(&mu_);
  for (const LayerGeneration& generation : generations) layers_.erase(generation);
}

void LayerIndex::Spare(absl::Span<const LayerGeneration> generations) {
  MutexLock lock(&mu_);
  for (const LayerGeneration& generation : generations) {
    const auto found = layers_.find(generation);
    if (found != layers_.end()) found->second.condemned = false;
  }
}

std::vector<LayerRecord> LayerIndex::List() const {
  MutexLock lock(&mu_);
  std::vector<LayerRecord> records;
  for (const auto& [generation, entry] : layers_) {
    if (!entry.condemned) records.push_back(entry.record);
  }
  return records;
}

}  // namespace berth
