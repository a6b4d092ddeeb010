// Attached clients, in the log writer: each hears on a SEQPACKET socket what the container writes.
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/keeper/state.h"

namespace berth::keeper {
namespace {

constexpr int kMaxSinks = 64;  // of a pod

struct Sink {
  uint32_t serial;  // of the slot; 0: free
  int socket;
};

Sink sinks[kMaxSinks];

void Drop(LogSlot& s, Sink& sink) {
  close(sink.socket);
  sink.serial = 0;
  --s.sinks;
}

bool Send(const Sink& sink, AttachKind kind, const char* data, size_t size) {
  char first = static_cast<char>(kind);
  struct iovec pieces[2] = {{&first, 1}, {const_cast<char*>(data), size}};
  struct msghdr message = {};
  message.msg_iov = pieces;
  message.msg_iovlen = 2;
  return sendmsg(sink.socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

}  // namespace

void AddSink(LogSlot& s, int epoll, int socket) {
  for (int i = 0; i < kMaxSinks; ++i) {
    if (sinks[i].serial != 0) continue;
    struct epoll_event event;
    event.events = EPOLLRDHUP;
    event.data.u64 = kSinkKey + static_cast<uint64_t>(i);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) != 0) break;
    sinks[i] = {s.serial, socket};
    ++s.sinks;
    return;
  }
  close(socket);
}

void TeeOutput(LogSlot& s, int stream, const char* data, size_t size) {
  if (s.sinks == 0) return;
  const AttachKind kind = stream == 0 ? AttachKind::kStdout : AttachKind::kStderr;
  for (Sink& sink : sinks) {
    if (sink.serial == s.serial && !Send(sink, kind, data, size)) Drop(s, sink);
  }
}

void EndSinks(LogSlot& s, bool ended) {
  if (s.sinks == 0) return;
  for (Sink& sink : sinks) {
    if (sink.serial != s.serial) continue;
    if (ended) Send(sink, AttachKind::kEnd, "", 0);
    Drop(s, sink);
  }
}

void CheckSink(LogSlot* slots, uint64_t key) {
  const uint64_t index = key - kSinkKey;
  if (index >= kMaxSinks || sinks[index].serial == 0) return;
  char byte;
  if (recv(sinks[index].socket, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) return;
  for (uint32_t i = 0; i < kMaxContainers; ++i) {
    if (slots[i].serial == sinks[index].serial) return Drop(slots[i], sinks[index]);
  }
}

}  // namespace berth::keeper
