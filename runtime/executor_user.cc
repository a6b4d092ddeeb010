#include "runtime/executor_user.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/executor_sys.h"

namespace berth {
namespace {

constexpr uint32_t kNoId = ~0u;

// Splits a file into fields that end in ':', ',' or newline, without an upper bound on line lengths.
class FieldReader {
 public:
  FieldReader(int root, const char* path) {
    fd_ = sys::OpenAt2(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY,
                       RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    struct stat st;
    if (fd_ >= 0 && (fstat(fd_, &st) != 0 || !S_ISREG(st.st_mode))) Close();
  }
  ~FieldReader() { Close(); }
  FieldReader(const FieldReader&) = delete;
  FieldReader& operator=(const FieldReader&) = delete;

  // Reads a field into text(); returns its delimiter, or 0 at the end of the file (then text() is a last
  // field without newline, perhaps empty). A field too long for the buffer is cut, and never a match.
  char Next() {
    length_ = 0;
    for (;;) {
      const int c = Byte();
      const bool end = c < 0 || c == ':' || c == ',' || c == '\n';
      if (end) {
        text_[length_ < kMax ? length_ : 0] = 0;
        return c < 0 ? 0 : static_cast<char>(c);
      }
      if (length_ < kMax) text_[length_++] = static_cast<char>(c);
    }
  }
  const char* text() const { return text_; }

 private:
  static constexpr unsigned kMax = 255;

  int Byte() {
    if (at_ == filled_) {
      const ssize_t n = fd_ < 0 ? 0 : read(fd_, buffer_, sizeof buffer_);
      if (n <= 0) return -1;
      filled_ = static_cast<unsigned>(n);
      at_ = 0;
    }
    return static_cast<unsigned char>(buffer_[at_++]);
  }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  int fd_;
  unsigned at_ = 0;
  unsigned filled_ = 0;
  unsigned length_ = 0;
  char text_[kMax + 1];
  char buffer_[4096];
};

bool ParseId(const char* text, uint32_t* id) {
  uint64_t value = 0;
  if (*text == 0) return false;
  for (; *text; ++text) {
    if (*text < '0' || *text > '9') return false;
    value = value * 10 + static_cast<uint64_t>(*text - '0');
    if (value >= 0xffffffffu) return false;
  }
  *id = static_cast<uint32_t>(value);
  return true;
}

struct PasswdEntry {
  bool found = false;
  uint32_t uid = 0;
  uint32_t gid = 0;
  char name[256] = "";
  char home[256] = "";
};

// The entry named `name`, else the first with `uid`.
void FindPasswd(int root, const char* name, bool by_uid, uint32_t uid, PasswdEntry* best) {
  FieldReader reader(root, "/etc/passwd");
  for (char delimiter = '\n'; delimiter != 0;) {
    PasswdEntry entry;
    bool good = false;
    for (int field = 0;;) {
      delimiter = reader.Next();
      if (field == 0) memcpy(entry.name, reader.text(), sizeof entry.name);
      if (field == 2) good = ParseId(reader.text(), &entry.uid);
      if (field == 3) good = good && ParseId(reader.text(), &entry.gid);
      if (field == 5) memcpy(entry.home, reader.text(), sizeof entry.home);
      if (delimiter == '\n' || delimiter == 0) break;
      if (delimiter == ':') ++field;
    }
    if (!good || entry.name[0] == 0 || entry.name[0] == '#') continue;
    entry.found = true;
    if (name != nullptr && strcmp(entry.name, name) == 0) {
      *best = entry;
      return;
    }
    if (by_uid && !best->found && entry.uid == uid) {
      *best = entry;
      if (name == nullptr) return;
    }
  }
}

bool AddGroup(ProcessUser* user, uint32_t gid) {
  for (uint32_t i = 0; i < user->group_count; ++i) {
    if (user->groups[i] == gid) return true;
  }
  if (user->group_count == kMaxPlanGroups) return false;
  user->groups[user->group_count++] = gid;
  return true;
}

struct GroupScan {
  const char* wanted;  // its gid is looked for; may be null
  const char* member;  // whose groups are collected; may be null
  bool found = false;
  uint32_t gid = 0;
  bool overflow = false;
};

void ScanGroups(int root, GroupScan* scan, ProcessUser* user) {
  FieldReader reader(root, "/etc/group");
  for (char delimiter = '\n'; delimiter != 0;) {
    uint32_t gid = 0;
    bool good = false, named = false, member = false;
    for (int field = 0;;) {
      delimiter = reader.Next();
      if (field == 0) named = scan->wanted != nullptr && strcmp(reader.text(), scan->wanted) == 0;
      if (field == 2) good = ParseId(reader.text(), &gid);
      if (field == 3 && scan->member != nullptr && strcmp(reader.text(), scan->member) == 0)
        member = true;
      if (delimiter == '\n' || delimiter == 0) break;
      if (delimiter == ':') ++field;
    }
    if (!good) continue;
    if (named && !scan->found) {
      scan->found = true;
      scan->gid = gid;
    }
    if (member && !AddGroup(user, gid)) scan->overflow = true;
  }
}

}  // namespace

Step ResolveUser(const Plan& plan, int root, ProcessUser* user) {
  const PlanUser& want = plan.user;
  const char* name = PlanString(plan, want.user);
  const char* group = PlanString(plan, want.group);
  const bool has_uid = (want.flags & kUserHasUid) != 0;
  const bool has_gid = (want.flags & kUserHasGid) != 0;
  uint32_t number = 0;
  const bool numeric = !has_uid && name != nullptr && ParseId(name, &number);

  PasswdEntry entry;
  FindPasswd(root, has_uid ? nullptr : name, has_uid || numeric || name == nullptr,
             has_uid ? want.uid : number, &entry);
  if (!has_uid && name != nullptr && !entry.found && !numeric) {
    errno = ENOENT;
    return Step::kUser;
  }
  user->uid = has_uid ? want.uid : entry.found ? entry.uid : number;
  user->gid = has_gid ? want.gid : entry.gid;
  // setresuid(2) would leave root what it is (CVE-2024-40635).
  if (user->uid == kNoId || user->gid == kNoId) {
    errno = EINVAL;
    return user->uid == kNoId ? Step::kUser : Step::kGroup;
  }
  if (entry.home[0] == '/') memcpy(user->home, entry.home, sizeof user->home);

  const bool strict = (plan.flags & kPlanStrictGroups) != 0;
  GroupScan scan{has_gid ? nullptr : group, strict || !entry.found ? nullptr : entry.name};
  user->group_count = 0;
  if (scan.wanted != nullptr || scan.member != nullptr) ScanGroups(root, &scan, user);
  if (scan.wanted != nullptr) {
    if (!scan.found && !ParseId(group, &scan.gid)) {
      errno = ENOENT;
      return Step::kGroup;
    }
    user->gid = scan.gid;
  }
  bool fits = !scan.overflow && AddGroup(user, user->gid);
  for (uint32_t i = 0; i < want.groups.count; ++i) {
    fits = fits && AddGroup(user, PlanTable(plan, want.groups)[i]);
  }
  if (fits) return Step::kNone;
  errno = E2BIG;
  return Step::kGroup;
}

}  // namespace berth
