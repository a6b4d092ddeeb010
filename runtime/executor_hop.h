// The hop: how a process gets into a PID namespace whose members could take descriptors from it.
//
// A process with CAP_SYS_PTRACE opens whatever another one of its PID namespace has open (/proc/PID/fd,
// pidfd_getfd), dumpable or not, and may take its place. So what is born there must have nothing that its
// neighbours haven't got: no descriptor but stdio, no privilege beyond the container's.
//
//   leader    prepares everything outside of the namespace, never enters it, reports to the supervisor
//   ferry     enters it for its children, drops privileges, closes all descriptors, gives birth, ends
//   passenger is born inside as the supervisor's own child, waits until it is known there, and executes
//
// The passenger has no socket: it tells what fails in a shared page, and that execve succeeded by a robust
// futex, which the kernel marks when an address space goes. A neighbour that forges either delays or
// misnames a start of its own pod, no more. The page with the passenger's pid is not in its memory.
#ifndef BERTH_RUNTIME_EXECUTOR_HOP_H_
#define BERTH_RUNTIME_EXECUTOR_HOP_H_

#include "runtime/executor_context.h"

namespace berth {

// Called with everything prepared; returns in the ferry, which has entered the namespace for its children.
// The leader stays until execve has succeeded or failed, and ends the process.
void StartFerry(ExecutorContext& c);

// Called in the ferry after it has dropped its privileges; returns in the passenger. What fails from here
// on is reported through the page.
void BecomePassenger(ExecutorContext& c);

}  // namespace berth

#endif  // BERTH_RUNTIME_EXECUTOR_HOP_H_
