// A load on a daemon that is as kubelet's: pods in parallel, calls that time out and are repeated with
// the same name and attempt, removals while something is being made, exec probes, lists during
// everything, pulls, and keepers that die.
//
// Each worker goes through episodes, a pod's whole life each, drawn from its own random numbers: a seed
// repeats the calls and their order in each worker, not the interleaving of the workers.
//
//   KubeletLoad load({.socket = ..., .image = ..., .seed = seed});
//   load.Start();
//   ...
//   load.Stop();                      // every episode has ended, its pod is removed
//   EXPECT_THAT(load.complaints(), IsEmpty());
#ifndef BERTH_TESTS_STRESS_KUBELET_LOAD_H_
#define BERTH_TESTS_STRESS_KUBELET_LOAD_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace berth::testing {

struct LoadOptions {
  std::string socket;
  std::string image;        // present, with sleep, sh and true
  std::string other_image;  // pulled and removed; "": none
  std::string log_directory;
  uint64_t seed = 1;
  int workers = 6;
  // The daemon is killed meanwhile: calls may find nobody, and what was being recorded may be lost.
  bool kills = false;
  // One pod in so many has a network of its own; 0: none.
  int network_share = 6;
  // One pod in so many loses its keeper; 0: none.
  int keeper_death_share = 12;
};

class KubeletLoad {
 public:
  explicit KubeletLoad(LoadOptions options);
  ~KubeletLoad();  // abandons what was not stopped

  void Start();
  // Lets the episodes come to their end, and waits for it.
  void Stop();
  // The same when the daemon is gone for good: what is under way ends at once, and nobody complains.
  void Abandon();

  // What should not have happened, at most some dozens.
  std::vector<std::string> complaints() const;
  // For a report: how often each thing was done.
  std::map<std::string, int> counts() const;

 private:
  class Episode;

  void Work(int index);
  void List();
  void Pull();
  void Complain(const std::string& what);
  void Count(const std::string& what);
  // Complains if another object had this id.
  void SawId(const std::string& id, const std::string& name);

  const LoadOptions options_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> abandoned_{false};
  std::vector<std::thread> threads_;
  mutable Mutex mu_;
  std::vector<std::string> complaints_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> counts_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::string> names_by_id_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_STRESS_KUBELET_LOAD_H_
