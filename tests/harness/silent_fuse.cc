#include "tests/harness/silent_fuse.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/status.h"

namespace berth::testing {
namespace {

constexpr uint64_t kFile = 2;
constexpr uint64_t kDirectory = 3;
constexpr uint64_t kForever = 3600;  // seconds that an answer may be cached

fuse_attr AttributesOf(uint64_t node) {
  fuse_attr attributes{};
  attributes.ino = node;
  attributes.mode = node == kFile ? S_IFREG | 0755 : S_IFDIR | 0755;
  attributes.size = 4096;
  attributes.nlink = 1;
  attributes.blksize = 4096;
  return attributes;
}

fuse_entry_out EntryOf(uint64_t node) {
  fuse_entry_out entry{};
  entry.nodeid = node;
  entry.entry_valid = entry.attr_valid = kForever;
  entry.attr = AttributesOf(node);
  return entry;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SilentFuse>> SilentFuse::Mount(const std::string& directory) {
  RETURN_IF_ERROR(MakeDirectories(directory, 0755));
  ASSIGN_OR_RETURN(UniqueFd device, OpenFile("/dev/fuse", O_RDWR));
  UniqueFd stop(eventfd(0, EFD_CLOEXEC));
  if (!stop.valid()) return ErrnoStatus("eventfd");
  const std::string options =
      absl::StrCat("fd=", device.get(), ",rootmode=40755,user_id=0,group_id=0,allow_other");
  if (mount("berth-silent", directory.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
    return ErrnoStatus("mount fuse", directory);
  return std::unique_ptr<SilentFuse>(new SilentFuse(directory, std::move(device), std::move(stop)));
}

SilentFuse::SilentFuse(std::string directory, UniqueFd device, UniqueFd stop)
    : directory_(std::move(directory)),
      device_(std::move(device)),
      stop_(std::move(stop)),
      thread_([this] { Serve(); }) {}

SilentFuse::~SilentFuse() {
  const uint64_t one = 1;
  (void)!write(stop_.get(), &one, sizeof one);
  thread_.join();
  device_.reset();  // aborts the connection
  umount2(directory_.c_str(), MNT_DETACH);
}

bool SilentFuse::WaitUntilHeld(int count) const {
  for (int i = 0; i < 1000 && held_ < count; ++i) absl::SleepFor(absl::Milliseconds(10));
  return held_ >= count;
}

void SilentFuse::Serve() {
  std::vector<char> request(FUSE_MIN_READ_BUFFER + (1 << 17));
  for (;;) {
    pollfd entries[2] = {{stop_.get(), POLLIN, 0}, {device_.get(), POLLIN, 0}};
    poll(entries, 2, -1);
    if (entries[0].revents != 0) return;
    const ssize_t n = read(device_.get(), request.data(), request.size());
    if (n < static_cast<ssize_t>(sizeof(fuse_in_header))) {
      if (n < 0 && errno == ENODEV) return;  // unmounted
      continue;
    }
    Answer(request);
  }
}

void SilentFuse::Reply(uint64_t unique, int error, const void* data, size_t size) {
  fuse_out_header header{};
  header.len = static_cast<uint32_t>(sizeof header + size);
  header.error = -error;
  header.unique = unique;
  iovec parts[2] = {{&header, sizeof header}, {const_cast<void*>(data), size}};
  (void)!writev(device_.get(), parts, 2);
}

void SilentFuse::Answer(const std::vector<char>& request) {
  fuse_in_header header;
  std::memcpy(&header, request.data(), sizeof header);
  const char* body = request.data() + sizeof header;
  switch (header.opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:  // none of these has an answer
      return;
    case FUSE_READ:
    case FUSE_WRITE:
      ++held_;
      return;
    default:
      break;
  }
  if (silent_) {
    ++held_;
    return;
  }
  switch (header.opcode) {
    case FUSE_INIT: {
      fuse_init_out out{};
      out.major = FUSE_KERNEL_VERSION;
      out.minor = 31;
      out.max_write = 4096;
      out.time_gran = 1;
      return Reply(header.unique, 0, &out, sizeof out);
    }
    case FUSE_LOOKUP: {
      const fuse_entry_out out = EntryOf(absl::StartsWith(body, "dir") ? kDirectory : kFile);
      return Reply(header.unique, 0, &out, sizeof out);
    }
    case FUSE_GETATTR:
    case FUSE_SETATTR: {
      fuse_attr_out out{};
      out.attr_valid = kForever;
      out.attr = AttributesOf(header.nodeid);
      return Reply(header.unique, 0, &out, sizeof out);
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR: {
      fuse_open_out out{};
      if (header.opcode == FUSE_OPEN) out.open_flags = FOPEN_DIRECT_IO;
      return Reply(header.unique, 0, &out, sizeof out);
    }
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_READDIR:
      return Reply(header.unique, 0, nullptr, 0);
    default:
      return Reply(header.unique, ENOSYS, nullptr, 0);
  }
}

}  // namespace berth::testing
