// What the daemon and a process that opens paths say to each other, over a SEQPACKET socket: a request is its kind,
// one byte, and an absolute path with its NUL; an answer comes with the descriptor of a log.
#ifndef BERTH_RUNTIME_KEEPER_PATH_ANSWER_H_
#define BERTH_RUNTIME_KEEPER_PATH_ANSWER_H_

#include <stdint.h>

namespace berth {

inline constexpr int kPathProcessFd = 3;  // its socket

enum class PathRequest : char { kOpenLog = 'l', kMakeMissing = 'm' };

struct PathAnswer {
  int32_t error;  // errno; 0 is success
};

}  // namespace berth

#endif  // BERTH_RUNTIME_KEEPER_PATH_ANSWER_H_
