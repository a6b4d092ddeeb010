// Container output → CRI log: `2026-01-02T03:04:05.000000006Z stdout F line`.
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "runtime/keeper/state.h"

namespace berth::keeper {
namespace {

constexpr int kPrefixSize = 48;
constexpr int kTerminalMax =
    1 << 17;  // more than the kernel buffers of one: 64 KiB (tty_buffer.c) and 4
// A pipe's capacity; then each line once more with its prefix. Few calls and whole pages: that is most of what
// a log costs.
constexpr uint32_t kReadSize = 4 * kCarryMax;
alignas(4096) char buffer[kReadSize];
alignas(4096) char gathered[2 * kReadSize];

void PutNumber(char* out, uint64_t value, int digits) {
  for (int i = digits - 1; i >= 0; --i, value /= 10) out[i] = static_cast<char>('0' + value % 10);
}

// Days since 1970-01-01 to a civil date (proleptic Gregorian).
void CivilDate(int64_t days, int* year, int* month, int* day) {
  days += 719468;
  const int64_t era = days / 146097;
  const int64_t of_era = days - era * 146097;
  const int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  const int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t shifted = (5 * of_year + 2) / 153;
  *day = static_cast<int>(of_year - (153 * shifted + 2) / 5 + 1);
  *month = static_cast<int>(shifted < 10 ? shifted + 3 : shifted - 9);
  *year = static_cast<int>(year_of_era + era * 400 + (*month <= 2));
}

// `TIME STREAM TAG `; the tag is the byte before the last.
int MakePrefix(char* out, int stream) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  int year, month, day;
  CivilDate(now.tv_sec / 86400, &year, &month, &day);
  const int64_t of_day = now.tv_sec % 86400;
  memcpy(out, "0000-00-00T00:00:00.000000000Z stdout F ", 41);
  PutNumber(out, static_cast<uint64_t>(year), 4);
  PutNumber(out + 5, static_cast<uint64_t>(month), 2);
  PutNumber(out + 8, static_cast<uint64_t>(day), 2);
  PutNumber(out + 11, static_cast<uint64_t>(of_day / 3600), 2);
  PutNumber(out + 14, static_cast<uint64_t>(of_day / 60 % 60), 2);
  PutNumber(out + 17, static_cast<uint64_t>(of_day % 60), 2);
  PutNumber(out + 20, static_cast<uint64_t>(now.tv_nsec), 9);
  constexpr char kErrors[] = {'s', 't', 'd', 'e', 'r', 'r'};
  if (stream == 1) memcpy(out + 31, kErrors, sizeof kErrors);
  return 40;
}

// Gathers lines; all of a batch have the same prefix.
class LogWriter {
 public:
  LogWriter(LogSlot& slot, int stream) : slot_(slot) {
    length_ = MakePrefix(full_, stream);
    memcpy(partial_, full_, sizeof full_);
    partial_[length_ - 2] = 'P';
  }
  ~LogWriter() { Flush(); }
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // head + tail are one line; `tail` of a full one ends in its newline.
  void Add(bool full, const char* head, size_t head_size, const char* tail, size_t tail_size) {
    if (size_ + kPrefixSize + head_size + tail_size + 1 > sizeof gathered) Flush();
    Put(full ? full_ : partial_, static_cast<size_t>(length_));
    Put(head, head_size);
    Put(tail, tail_size);
    if (!full) Put("\n", 1);
  }

  // What a full or broken disk refuses is lost: the container must not stop for it.
  void Flush() {
    if (size_ > 0 && slot_.torn) slot_.torn = write(slot_.log, "\n", 1) != 1;
    const char* data = gathered;
    size_t left = slot_.torn ? 0 : size_;
    size_ = 0;
    while (left > 0) {
      const ssize_t n = write(slot_.log, data, left);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        slot_.lost = true;
        return;
      }
      data += n;
      left -= static_cast<size_t>(n);
      slot_.torn = data[-1] != '\n';
    }
  }

 private:
  void Put(const char* data, size_t size) {
    if (size == 0) return;
    memcpy(gathered + size_, data, size);
    size_ += size;
  }

  LogSlot& slot_;
  int length_;
  size_t size_ = 0;  // of what is gathered
  char full_[kPrefixSize];
  char partial_[kPrefixSize];
};

void WriteChunk(LogWriter& log, LogSlot& s, int stream, const char* data, size_t size) {
  char* const carry = s.carry[stream];
  uint32_t& carried = s.carry_size[stream];
  while (size > 0) {
    const char* newline = static_cast<const char*>(memchr(data, '\n', size));
    const size_t room = kCarryMax - carried;
    const size_t line =
        newline ? static_cast<size_t>(newline - data) : size;  // without the newline
    if (line > room || (line == room && newline == nullptr)) {
      log.Add(false, carry, carried, data, room);
      data += room, size -= room;
    } else if (newline != nullptr) {
      log.Add(true, carry, carried, data, line + 1);
      data += line + 1, size -= line + 1;
    } else {
      s.touched = true;
      memcpy(carry + carried, data, size);
      carried += static_cast<uint32_t>(size);
      return;
    }
    carried = 0;
  }
}

}  // namespace

long CopyOutput(LogSlot& s, int stream, uint32_t limit) {
  const ssize_t n = read(s.pipe[stream], buffer, limit < sizeof buffer ? limit : sizeof buffer);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? -1 : 0;  // EIO: a terminal was hung up
  if (n == 0) return 0;
  // First, as the log's disk may take its time.
  for (ssize_t at = 0; at < n; at += kCarryMax)
    TeeOutput(s, stream, buffer + at, static_cast<size_t>(n - at < kCarryMax ? n - at : kCarryMax));
  LogWriter log(s, stream);
  WriteChunk(log, s, stream, buffer, static_cast<size_t>(n));
  return n;
}

void DrainOutput(LogSlot& s) {
  for (int stream = 0; stream < 2; ++stream) {
    // FIONREAD of a terminal leaves out what the kernel has not passed on yet; reading waits for that.
    int left = s.terminal ? kTerminalMax : 0;
    if (!s.terminal && s.pipe[stream] >= 0 && ioctl(s.pipe[stream], FIONREAD, &left) != 0) left = 0;
    while (left > 0) {
      const long n = CopyOutput(s, stream, static_cast<uint32_t>(left));
      if (n <= 0) break;
      left -= static_cast<int>(n);
    }
    if (s.carry_size[stream] > 0) {
      LogWriter log(s, stream);
      log.Add(false, s.carry[stream], s.carry_size[stream], nullptr, 0);
    }
    s.carry_size[stream] = 0;
  }
}

void ReleaseCarry(LogSlot& s) {
  if (!s.touched || s.carry_size[0] > 0 || s.carry_size[1] > 0) return;
  for (char* carry : s.carry) madvise(carry, kCarryMax, MADV_REMOVE);
  s.touched = false;
}

void ReleaseBuffer() {
  madvise(buffer, sizeof buffer, MADV_DONTNEED);
  madvise(gathered, sizeof gathered, MADV_DONTNEED);
}

}  // namespace berth::keeper
