// unpack_bench UNPACKER ROOT LAYER...: takes layers in and says how fast; then times snapshots.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/sqlite.h"
#include "base/status.h"
#include "snapshotter/overlay_store.h"

namespace berth {
namespace {

absl::StatusOr<LayerInfo> TakeIn(LayerStore& layers, const std::string& path, LayerLease& lease) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  ASSIGN_OR_RETURN(const std::unique_ptr<LayerIngest> ingest, layers.BeginIngest({}));
  std::vector<char> buffer(256 << 10);
  while (true) {
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got < 0) return ErrnoStatus("read", path);
    if (got == 0) return ingest->Commit(lease);
    RETURN_IF_ERROR(ingest->Write(absl::string_view(buffer.data(), static_cast<size_t>(got))));
  }
}

absl::Status Run(int argc, char** argv) {
  if (argc < 4) return absl::InvalidArgumentError("unpack_bench UNPACKER ROOT LAYER...");
  const std::string root = argv[2];
  RETURN_IF_ERROR(MakeDirectories(root, 0700));
  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                   Database::Open(root + "/state.db", {}));
  ASSIGN_OR_RETURN(const std::unique_ptr<OverlayStore> store,
                   OpenOverlayStore(*database, {root, argv[1], nullptr, false}));
  const std::unique_ptr<LayerLease> lease = store->layers().NewLease();
  std::vector<DiffId> layers;
  for (int i = 3; i < argc; ++i) {
    const absl::Time start = absl::Now();
    ASSIGN_OR_RETURN_WITH(const LayerInfo info, TakeIn(store->layers(), argv[i], *lease), argv[i]);
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    printf("%s: %.3f s, %.0f MB/s of tar, %ju entries\n", argv[i], seconds,
           static_cast<double>(info.tar_bytes) / 1e6 / seconds,
           static_cast<uintmax_t>(info.entries));
    layers.push_back(info.diff_id);
  }
  ASSIGN_OR_RETURN(layers, store->layers().CompleteLayers(layers, *lease));
  for (const char* what : {"prepare", "remove"}) {
    std::vector<double> micros;
    for (int i = 0; i < 500; ++i) {
      const SnapshotId id(absl::StrCat("bench-", i));
      const absl::Time start = absl::Now();
      RETURN_IF_ERROR(what[0] == 'p' ? store->snapshots().Prepare(id, layers).status()
                                     : store->snapshots().Remove(id));
      micros.push_back(absl::ToDoubleMicroseconds(absl::Now() - start));
    }
    std::sort(micros.begin(), micros.end());
    printf("%s: p50 %.0f us, p99 %.0f us\n", what, micros[250], micros[495]);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace berth

int main(int argc, char** argv) {
  const absl::Status status = berth::Run(argc, argv);
  if (status.ok()) return 0;
  fprintf(stderr, "unpack_bench: %s\n", status.ToString().c_str());
  return 1;
}
