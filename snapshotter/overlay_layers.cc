#include "snapshotter/overlay_layers.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/container/btree_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "snapshotter/disk_usage.h"
#include "snapshotter/layer_check.h"
#include "snapshotter/layer_completion.h"
#include "snapshotter/layer_table.h"
#include "snapshotter/sidecar.h"
#include "snapshotter/unpack/digest_list.h"
#include "snapshotter/unpack/whiteout.h"
#include "snapshotter/unpacker_client.h"

namespace berth {
namespace {

constexpr size_t kMaxImpliedBytes = size_t{512} << 20;  // the unpacker bounds it: 100,000 paths

std::string DiffIdText(const uint8_t (&digest)[32]) {
  Sha256Value value;
  std::copy(digest, digest + 32, value.begin());
  return HexOf(value);
}

bool IsOpaque(int tree) {
  char value = 0;
  return fgetxattr(tree, kOpaqueXattr, &value, 1) == 1 && value == 'y';
}

// After its sync: a file system that allocates late knows no blocks before.
absl::Status MeasureLayer(const std::string& tree, LayerInfo* info) {
  ASSIGN_OR_RETURN(const DiskUsage usage, MeasureDiskUsage(tree, Cancellation()));
  info->disk_bytes = usage.bytes;
  info->inodes = usage.inodes;
  return absl::OkStatus();
}

}  // namespace

class OverlayLayers::Lease : public LayerLease {
 public:
  explicit Lease(LayerIndex& index) : index_(index) {}
  ~Lease() override {
    MutexLock lock(&mu_);
    index_.Unpin(held_);
  }
  // Takes over one pin.
  void Hold(const LayerGeneration& generation) {
    MutexLock lock(&mu_);
    held_.push_back(generation);
  }

 private:
  LayerIndex& index_;
  Mutex mu_;
  std::vector<LayerGeneration> held_ ABSL_GUARDED_BY(mu_);
};

class OverlayLayers::Ingest : public LayerIngest {
 public:
  Ingest(OverlayLayers& store, const IngestRequest& request, Draft draft,
         std::unique_ptr<UnpackerClient> unpacker)
      : store_(store),
        request_(request),
        draft_(std::move(draft)),
        unpacker_(std::move(unpacker)) {}

  ~Ingest() override {
    if (committed_) return;
    unpacker_.reset();  // it must not write while its tree is deleted
    const absl::Status status = store_.trash_->Discard(store_.paths_.layer(draft_.generation));
    if (!status.ok()) LogWarning("discard a layer: ", status.message(), ", ignoring");
  }

  absl::Status Write(absl::string_view bytes) override { return unpacker_->Write(bytes); }
  void Cancel() override { unpacker_->Kill(); }

  absl::StatusOr<LayerInfo> Commit(LayerLease& lease) override {
    ASSIGN_OR_RETURN(const LayerRecord record, Finish());
    absl::StatusOr<LayerInfo> other = store_.Acquire(record.info.diff_id, lease);
    if (other.ok()) return other;
    RETURN_IF_ERROR(store_.CommitDraft(record));
    committed_ = true;
    static_cast<Lease&>(lease).Hold(draft_.generation);
    return record.info;
  }

 private:
  absl::StatusOr<LayerRecord> Finish() {
    ASSIGN_OR_RETURN(const UnpackResult result, unpacker_->Finish());
    RETURN_IF_ERROR(Failpoint("snapshotter.ingest.unpacked"));
    LayerRecord record;
    record.info.generation = draft_.generation;
    record.info.diff_id = DiffId(absl::StrCat("sha256:", DiffIdText(result.diff_id)));
    if (!request_.expected.empty() && record.info.diff_id != request_.expected) {
      return absl::DataLossError(absl::StrCat("the layer's diff ID is ", record.info.diff_id.str(),
                                              ", not ", request_.expected.str()));
    }
    record.info.tar_bytes = result.tar_bytes;
    record.info.file_bytes = result.file_bytes;
    record.info.entries = result.entries;
    RETURN_IF_ERROR(MeasureLayer(store_.paths_.layer_tree(draft_.generation), &record.info));
    record.info.created = absl::Now();
    record.digest_list = DiffIdText(result.digest_list);
    record.implied_offset = result.implied_offset;
    record.opaque_root = IsOpaque(draft_.tree.get());
    return record;
  }

  OverlayLayers& store_;
  const IngestRequest request_;
  const Draft draft_;
  std::unique_ptr<UnpackerClient> unpacker_;
  bool committed_ = false;
};

OverlayLayers::OverlayLayers(Database& database, StorePaths paths, std::string unpacker,
                             LayerIndex& index, std::shared_ptr<Trash> trash)
    : database_(database),
      paths_(std::move(paths)),
      unpacker_(std::move(unpacker)),
      index_(index),
      trash_(std::move(trash)) {}

std::unique_ptr<LayerLease> OverlayLayers::NewLease() { return std::make_unique<Lease>(index_); }

absl::StatusOr<LayerInfo> OverlayLayers::Acquire(const DiffId& layer, LayerLease& lease) {
  ASSIGN_OR_RETURN(const std::vector<LayerRecord> records, index_.Pin({layer}));
  static_cast<Lease&>(lease).Hold(records[0].info.generation);
  return records[0].info;
}

absl::StatusOr<OverlayLayers::Draft> OverlayLayers::MakeDraft() {
  Draft draft;
  draft.generation = LayerGeneration(RandomHexId().substr(0, 16));
  const std::string directory = paths_.layer(draft.generation);
  const std::string tree = paths_.layer_tree(draft.generation);
  if (mkdir(directory.c_str(), 0700) != 0) return ErrnoStatus("mkdir", directory);
  absl::Cleanup remove = [this, directory] { trash_->Discard(directory).IgnoreError(); };
  RETURN_IF_ERROR(Failpoint("snapshotter.ingest.directory"));
  // The umask is the daemon's, the mode is the image's.
  if (mkdir(tree.c_str(), 0755) != 0 || chmod(tree.c_str(), 0755) != 0) {
    return ErrnoStatus("mkdir", tree);
  }
  ASSIGN_OR_RETURN(draft.tree, OpenFile(tree, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(draft.digests, OpenFile(paths_.layer_digests(draft.generation),
                                           O_RDWR | O_CREAT | O_EXCL, 0600));
  std::move(remove).Cancel();
  return draft;
}

absl::StatusOr<std::unique_ptr<LayerIngest>> OverlayLayers::BeginIngest(
    const IngestRequest& request) {
  if (request.limits.ratio == 0 || request.limits.path_bytes == 0) {
    return absl::InvalidArgumentError("begin an ingest: a limit is 0");
  }
  ASSIGN_OR_RETURN_WITH(Draft draft, MakeDraft(), "begin an ingest");
  absl::Cleanup discard = [this, directory = paths_.layer(draft.generation)] {
    trash_->Discard(directory).IgnoreError();
  };
  UnpackRequest limits;
  limits.tar_bytes = request.limits.tar_bytes;
  limits.entries = request.limits.entries;
  limits.path_bytes = std::min<uint32_t>(request.limits.path_bytes, 4095);
  limits.ratio = request.limits.ratio;
  ASSIGN_OR_RETURN(std::unique_ptr<UnpackerClient> unpacker,
                   UnpackerClient::Start(unpacker_, draft.tree.get(), draft.digests.get(), limits));
  std::move(discard).Cancel();
  return std::make_unique<Ingest>(*this, request, std::move(draft), std::move(unpacker));
}

absl::Status OverlayLayers::CommitDraft(const LayerRecord& record) {
  const LayerGeneration& generation = record.info.generation;
  RETURN_IF_ERROR(WriteFileDurably(paths_.layer_sidecar(generation), FormatSidecar(record), 0600));
  RETURN_IF_ERROR(FsyncPath(paths_.layers()));
  RETURN_IF_ERROR(Failpoint("snapshotter.ingest.sidecar"));
  ASSIGN_OR_RETURN(Transaction transaction, database_.Write(Durability::kFull));
  RETURN_IF_ERROR(InsertLayer(transaction, record));
  RETURN_IF_ERROR(transaction.Commit());  // the commit point
  index_.Add(record, /*pinned=*/true);
  Failpoint("snapshotter.ingest.committed").IgnoreError();  // for crashes: there is no way back
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> OverlayLayers::ReadImplied(
    const LayerRecord& record) const {
  const std::string path = paths_.layer_digests(record.info.generation);
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  if (lseek(fd.get(), static_cast<off_t>(record.implied_offset), SEEK_SET) < 0) {
    return ErrnoStatus("lseek", path);
  }
  ASSIGN_OR_RETURN_WITH(const std::string tail, ReadFd(fd.get(), kMaxImpliedBytes), path);
  return ParseImplied(tail);
}

absl::StatusOr<std::vector<DiffId>> OverlayLayers::CompleteLayers(absl::Span<const DiffId> layers,
                                                                  LayerLease& lease) {
  std::vector<DiffId> complete = TopmostOnly(layers);
  ASSIGN_OR_RETURN(const std::vector<LayerRecord> records, index_.Pin(complete));
  for (const LayerRecord& record : records) {
    static_cast<Lease&>(lease).Hold(record.info.generation);
  }
  std::vector<CompletionLayer> stack;  // topmost first
  for (auto record = records.rbegin(); record != records.rend(); ++record) {
    ASSIGN_OR_RETURN(const std::vector<std::string> implied, ReadImplied(*record));
    stack.push_back({paths_.layer_tree(record->info.generation),
                     {implied.begin(), implied.end()},
                     record->opaque_root});
  }
  ASSIGN_OR_RETURN(const std::vector<BareDirectory> directories, FindBareDirectories(stack));
  if (directories.empty()) return complete;
  ASSIGN_OR_RETURN(DiffId bare, AddBareLayer(directories, static_cast<Lease&>(lease)));
  complete.push_back(std::move(bare));
  return complete;
}

absl::StatusOr<DiffId> OverlayLayers::AddBareLayer(absl::Span<const BareDirectory> directories,
                                                   Lease& lease) {
  ASSIGN_OR_RETURN(const Draft draft, MakeDraft());
  absl::Cleanup discard = [this, &draft] {
    trash_->Discard(paths_.layer(draft.generation)).IgnoreError();
  };
  ASSIGN_OR_RETURN(const Sha256Value digest,
                   WriteBareDirectories(directories, draft.tree.get(), draft.digests.get()));
  LayerRecord record;
  record.info.generation = draft.generation;
  // Its content's digest, so that equal images share it. No registry can serve a layer of this name.
  record.info.diff_id = DiffId(absl::StrCat("dirs+sha256:", HexOf(digest)));
  record.info.entries = directories.size();
  record.info.created = absl::Now();
  record.digest_list = HexOf(digest);
  struct stat info;
  if (fstat(draft.digests.get(), &info) != 0) return ErrnoStatus("fstat");
  record.implied_offset = static_cast<uint64_t>(info.st_size);
  if (Acquire(record.info.diff_id, lease).ok()) return record.info.diff_id;
  if (syncfs(draft.tree.get()) != 0) return ErrnoStatus("sync a layer");
  RETURN_IF_ERROR(MeasureLayer(paths_.layer_tree(draft.generation), &record.info));
  RETURN_IF_ERROR(CommitDraft(record));
  std::move(discard).Cancel();
  lease.Hold(draft.generation);
  return record.info.diff_id;
}

absl::Status OverlayLayers::WriteReferences(absl::string_view owner,
                                            absl::Span<const DiffId> layers) {
  ASSIGN_OR_RETURN(Transaction transaction, database_.Write(Durability::kFull));
  RETURN_IF_ERROR(
      transaction.Prepare("DELETE FROM layer_references WHERE owner = ?").Text(owner).Run());
  for (const DiffId& layer : layers) {
    RETURN_IF_ERROR(
        transaction.Prepare("INSERT OR IGNORE INTO layer_references(owner, diff_id) VALUES(?, ?)")
            .Text(owner)
            .Text(layer.str())
            .Run());
  }
  RETURN_IF_ERROR(Failpoint("snapshotter.reference"));
  return transaction.Commit();
}

absl::Status OverlayLayers::Reference(absl::string_view owner, absl::Span<const DiffId> layers) {
  const std::string name(owner);
  // In memory first: from here on nothing collects them.
  ASSIGN_OR_RETURN(const std::vector<DiffId> before, index_.Reference(name, layers));
  const absl::Status status = WriteReferences(owner, layers);
  if (!status.ok()) index_.Reference(name, before, /*check=*/false).IgnoreError();
  return status;
}

absl::Status OverlayLayers::Unreference(absl::string_view owner) {
  RETURN_IF_ERROR(WriteReferences(owner, {}));
  return index_.Reference(std::string(owner), {}).status();
}

absl::Status OverlayLayers::RetainReferences(absl::Span<const std::string> owners) {
  const absl::btree_set<std::string> retained(owners.begin(), owners.end());
  for (const std::string& owner : index_.Owners()) {
    if (!retained.contains(owner)) RETURN_IF_ERROR(Unreference(owner));
  }
  return absl::OkStatus();
}

absl::Status OverlayLayers::RemoveRecords(absl::Span<const LayerGeneration> generations) {
  ASSIGN_OR_RETURN(Transaction transaction, database_.Write(Durability::kFull));
  for (const LayerGeneration& generation : generations) {
    RETURN_IF_ERROR(transaction.Prepare("DELETE FROM layers WHERE generation = ?")
                        .Text(generation.str())
                        .Run());
  }
  RETURN_IF_ERROR(Failpoint("snapshotter.collect.records"));
  return transaction.Commit();
}

absl::Status OverlayLayers::DiscardFiles(std::vector<LayerGeneration> condemned) {
  {
    MutexLock lock(&mu_);
    condemned.insert(condemned.end(), undiscarded_.begin(), undiscarded_.end());
    undiscarded_.clear();
  }
  absl::Status first;
  for (const LayerGeneration& generation : condemned) {
    absl::Status status = Failpoint("snapshotter.collect.files");
    if (status.ok()) status = trash_->Discard(paths_.layer(generation));
    if (status.ok()) continue;
    first.Update(status);
    MutexLock lock(&mu_);
    undiscarded_.push_back(generation);
  }
  return first;
}

absl::StatusOr<int> OverlayLayers::Collect() {
  std::vector<LayerGeneration> condemned = index_.Condemn();
  if (!condemned.empty()) {
    absl::Status status = RemoveRecords(condemned);
    if (!status.ok()) {
      index_.Spare(condemned);
      return status;
    }
    index_.Forget(condemned);
  }
  const int count = static_cast<int>(condemned.size());
  RETURN_IF_ERROR(DiscardFiles(std::move(condemned)));
  return count;
}

std::vector<LayerInfo> OverlayLayers::List() const {
  std::vector<LayerInfo> infos;
  for (const LayerRecord& record : index_.List()) infos.push_back(record.info);
  return infos;
}

absl::Status OverlayLayers::Verify(const LayerGeneration& generation, bool retire) {
  RETURN_IF_ERROR(index_.PinGenerations({generation}));
  const absl::Cleanup unpin = [this, &generation] { index_.Unpin({generation}); };
  ASSIGN_OR_RETURN(const LayerRecord record, index_.Get(generation));
  const absl::Status found = CheckLayer(paths_.layer_tree(generation),
                                        paths_.layer_digests(generation), record.digest_list);
  if (!absl::IsDataLoss(found) || !retire) return Annotate(found, generation.str());
  ASSIGN_OR_RETURN(Transaction transaction, database_.Write(Durability::kFull));
  RETURN_IF_ERROR(transaction.Prepare("UPDATE layers SET retired = 1 WHERE generation = ?")
                      .Text(generation.str())
                      .Run());
  RETURN_IF_ERROR(transaction.Commit());
  index_.Retire(generation);
  return Annotate(found, generation.str());
}

}  // namespace berth
