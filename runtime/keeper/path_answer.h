// What a process that opens a path says: one message, with the descriptor of a log.
#ifndef BERTH_RUNTIME_KEEPER_PATH_ANSWER_H_
#define BERTH_RUNTIME_KEEPER_PATH_ANSWER_H_

#include <stdint.h>

namespace berth {

inline constexpr int kPathProcessFd = 3;  // its socket

struct PathAnswer {
  int32_t error;   // errno; 0 is success
  uint32_t index;  // of the path that it is about
};

}  // namespace berth

#endif  // BERTH_RUNTIME_KEEPER_PATH_ANSWER_H_
