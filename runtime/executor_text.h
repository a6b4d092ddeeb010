// Text without stdio. Internal to executor*.cc.
#ifndef BERTH_RUNTIME_EXECUTOR_TEXT_H_
#define BERTH_RUNTIME_EXECUTOR_TEXT_H_

#include <stdint.h>
#include <string.h>

namespace berth {

// Both write at `out`, which has room, and return the end of what is there then: a NUL.
inline char* Append(char* out, const char* text) {
  const size_t n = strlen(text);
  memcpy(out, text, n + 1);
  return out + n;
}
inline char* AppendNumber(char* out, uint32_t value) {
  char digits[12];
  int n = 0;
  do digits[n++] = static_cast<char>('0' + value % 10);
  while ((value /= 10) != 0);
  while (n > 0) *out++ = digits[--n];
  *out = 0;
  return out;
}

}  // namespace berth

#endif  // BERTH_RUNTIME_EXECUTOR_TEXT_H_
