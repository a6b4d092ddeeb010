// What a put costs: `bazel run //server/store:store_bench`. ROOT and STATE are below
// $STORE_BENCH_ROOT (default: the working directory) and $STORE_BENCH_STATE (default /dev/shm).
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <memory>
#include <string>

#include "base/files.h"
#include "server/store/store.h"

namespace berth {
namespace {

std::string TempBelow(const char* variable, const char* fallback) {
  const char* base = getenv(variable);
  std::string pattern = std::string(base != nullptr ? base : fallback) + "/berth-bench.XXXXXX";
  return mkdtemp(pattern.data());
}

class StoreBench : public benchmark::Fixture {
 public:
  void SetUp(const benchmark::State&) override {
    root_ = TempBelow("STORE_BENCH_ROOT", ".");
    state_ = TempBelow("STORE_BENCH_STATE", "/dev/shm");
    database_ = *Database::Open(root_ + "/state.db", {});
    store_ = *Store::Open(database_.get(), state_, InstanceId("i"), nullptr);
    pod_.set_id(NewPodId().str());
    pod_.set_state(store::v1::POD_STATE_READY);
    pod_.set_created_at_ns(store_->NextCreatedAt());
    for (int i = 0; i < 10; ++i) {
      (*pod_.mutable_config()->mutable_annotations())[std::string(20, 'a' + i)] =
          std::string(60, 'v');
    }
    (void)store_->PutPod(pod_, Durability::kNormal);
  }
  void TearDown(const benchmark::State&) override {
    store_.reset();
    database_.reset();
    (void)RemoveTree(root_);
    (void)RemoveTree(state_);
  }
  store::v1::ContainerRecord Container() {
    store::v1::ContainerRecord record;
    record.set_id(NewContainerId().str());
    record.set_pod_id(pod_.id());
    record.set_state(store::v1::CONTAINER_STATE_CREATED);
    record.set_created_at_ns(store_->NextCreatedAt());
    for (int i = 0; i < 30; ++i) {
      auto* env = record.mutable_config()->add_envs();
      env->set_key(std::string(20, 'K'));
      env->set_value(std::string(40, 'v'));
    }
    return record;
  }

  std::string root_, state_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<Store> store_;
  store::v1::PodRecord pod_;
};

BENCHMARK_DEFINE_F(StoreBench, UpdateContainer)(benchmark::State& state) {
  const store::v1::ContainerRecord record = Container();
  const auto durability = state.range(0) != 0 ? Durability::kFull : Durability::kNormal;
  for (auto _ : state) (void)store_->PutContainer(record, durability);
}
BENCHMARK_REGISTER_F(StoreBench, UpdateContainer)->ArgName("full")->Arg(0)->Arg(1)->UseRealTime();

BENCHMARK_DEFINE_F(StoreBench, AddAndRemoveContainer)(benchmark::State& state) {
  for (auto _ : state) {
    const store::v1::ContainerRecord record = Container();
    (void)store_->PutContainer(record, Durability::kNormal);
    (void)store_->RemoveContainer(ContainerId(record.id()), Durability::kNormal);
  }
}
BENCHMARK_REGISTER_F(StoreBench, AddAndRemoveContainer)->UseRealTime();

BENCHMARK_DEFINE_F(StoreBench, CopyOnly)(benchmark::State& state) {
  const store::v1::ContainerRecord record = Container();
  for (auto _ : state) (void)store_->copies().Write(record);
}
BENCHMARK_REGISTER_F(StoreBench, CopyOnly)->UseRealTime();

}  // namespace
}  // namespace berth

BENCHMARK_MAIN();
