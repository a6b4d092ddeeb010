// A layer unpacked into a directory. A way out of it would meet read-only mounts: the process lives
// in a mount namespace of its own, where only its scratch directory and the working directory
// (libFuzzer's findings) can be written.
#include <fcntl.h>
#include <linux/mount.h>
#include <locale.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "snapshotter/unpack/digest_list.h"
#include "snapshotter/unpack/layer_unpacker.h"
#include "snapshotter/unpack/layer_writer.h"
#include "snapshotter/unpack/tar_reader.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

namespace berth {
namespace {

constexpr uint64_t kTarBytes = 1u << 20;
constexpr uint64_t kEntries = 200;
constexpr uint32_t kPathBytes = 1024;
constexpr size_t kTarBlock = 512;

// mount_setattr(2), Linux 5.12.
bool SetReadOnly(const char* path, bool on) {
  mount_attr attributes = {};
  (on ? attributes.attr_set : attributes.attr_clr) = MOUNT_ATTR_RDONLY;
  const unsigned flags = on ? AT_RECURSIVE : 0;
  return syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attributes, sizeof attributes) == 0;
}

void EnterUserNamespace() {
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  FUZZ_CHECK(unshare(CLONE_NEWUSER) == 0);
  FUZZ_CHECK(WriteKernelFile("/proc/self/setgroups", "deny").ok());
  FUZZ_CHECK(WriteKernelFile("/proc/self/uid_map", absl::StrCat("0 ", uid, " 1")).ok());
  FUZZ_CHECK(WriteKernelFile("/proc/self/gid_map", absl::StrCat("0 ", gid, " 1")).ok());
}

void Confine() {
  if (geteuid() != 0) EnterUserNamespace();
  FUZZ_CHECK(unshare(CLONE_NEWNS) == 0);
  const std::string& scratch = ScratchDirectory();
  char work[4096];
  FUZZ_CHECK(getcwd(work, sizeof work) != nullptr);
  FUZZ_CHECK(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  FUZZ_CHECK(mount(work, work, nullptr, MS_BIND, nullptr) == 0);
  FUZZ_CHECK(mount("fuzz", scratch.c_str(), "tmpfs", MS_NODEV | MS_NOSUID, "size=256m") == 0);
  FUZZ_CHECK(SetReadOnly("/", true));
  FUZZ_CHECK(SetReadOnly(work, false) && SetReadOnly(scratch.c_str(), false));
  FUZZ_CHECK(chdir(work) == 0);
}

std::string Root() { return ScratchDirectory() + "/root"; }

// The first bytes of gzip and zstd, whose sums are their own.
bool IsPacked(absl::string_view input) {
  return !input.empty() && (input[0] == '\x1f' || input[0] == '\x28');
}

struct Written {
  uint64_t entries = 0;
  uint64_t file_bytes = 0;
  uint64_t implied_offset = 0;
};

// Through all threads, as the unpacker does.
absl::StatusOr<Written> Unpack(int root, int digests, absl::string_view input) {
  UnpackRequest request;
  request.tar_bytes = kTarBytes;
  request.entries = kEntries;
  request.path_bytes = kPathBytes;
  request.ratio = 1000;
  LayerUnpacker unpacker(request, root, digests);
  FUZZ_CHECK(unpacker.Prepare().ok());
  const auto layer = unpacker.Run([&](char* to, size_t room) -> absl::StatusOr<size_t> {
    const size_t given = std::min(room, input.size());
    memcpy(to, input.data(), given);
    input.remove_prefix(given);
    return given;
  });
  if (!layer.ok()) return layer.status();
  FUZZ_CHECK(layer->tar_bytes <= kTarBytes);
  return Written{layer->entries, layer->file_bytes, layer->implied_offset};
}

// The tar alone, on this thread: many times as fast.
absl::StatusOr<Written> ReadTar(int root, int digests, absl::string_view input) {
  LayerWriterOptions options;
  options.file_bytes = kTarBytes;
  options.entries = kEntries;
  options.path_bytes = kPathBytes;
  LayerWriter writer(root, digests, options);
  TarReader reader([&]() -> absl::StatusOr<absl::string_view> {
    const absl::string_view piece = input;
    input = absl::string_view();
    return piece;
  });
  FUZZ_CHECK(reader.Prepare().ok());
  RETURN_IF_ERROR(reader.ReadAll([&](const TarEntry& entry, const ContentReader& content) {
    return writer.Add(entry, content);
  }));
  ASSIGN_OR_RETURN(const LayerWriter::Summary summary, writer.Finish());
  return Written{summary.entries, summary.file_bytes, summary.implied_offset};
}

void UnpackAny(absl::string_view input) {
  FUZZ_CHECK(MakeDirectories(Root(), 0755).ok());
  const UniqueFd root(open(Root().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const UniqueFd digests(memfd_create("digests", MFD_CLOEXEC));
  const bool whole = IsPacked(input) || input.size() % 16 == 3;
  const auto layer =
      whole ? Unpack(root.get(), digests.get(), input) : ReadTar(root.get(), digests.get(), input);
  if (!layer.ok()) return;
  FUZZ_CHECK(layer->file_bytes <= kTarBytes && layer->entries <= kEntries);
  FUZZ_CHECK(lseek(digests.get(), 0, SEEK_SET) == 0);
  const std::string list = ReadFd(digests.get()).value();
  FUZZ_CHECK(layer->implied_offset <= list.size());
  FUZZ_CHECK(ParseImplied(absl::string_view(list).substr(layer->implied_offset)).ok());
  FUZZ_CHECK(ParseDigestList(list).ok());
}

// The number in a header's field: octal digits after spaces.
uint64_t Octal(const uint8_t* field, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) {
    if (field[i] >= '0' && field[i] <= '7') value = value * 8 + (field[i] - '0');
  }
  return value;
}

// Makes the headers' check sums right, so that mutations reach what is behind them.
void MendTar(uint8_t* tar, size_t size) {
  for (size_t at = 0; at + kTarBlock <= size;) {
    uint8_t* header = tar + at;
    if (header[0] == 0) return;
    memset(header + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < kTarBlock; ++i) sum += header[i];
    char text[8];
    snprintf(text, sizeof text, "%06o", sum % (1u << 18));
    memcpy(header + 148, text, 7);
    const uint64_t content = std::min<uint64_t>(Octal(header + 124, 12), size);
    at += kTarBlock + (content + kTarBlock - 1) / kTarBlock * kTarBlock;
  }
}

}  // namespace
}  // namespace berth

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (!berth::IsPacked(berth::Text(data, size)) && seed % 8 != 0) berth::MendTar(data, size);
  return size;
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  umask(0);
  setlocale(LC_CTYPE, "C.UTF-8");
  berth::Confine();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::UnpackAny(berth::Text(data, size));
  const auto names = berth::ListDirectory(berth::ScratchDirectory());
  FUZZ_CHECK(names.ok() && names->size() == 1);
  FUZZ_CHECK(berth::RemoveTree(berth::Root()).ok());
  return 0;
}
