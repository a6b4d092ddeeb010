#include "server/store/store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/failpoint.h"
#include "base/files.h"

namespace berth {
namespace {

using namespace store::v1;  // NOLINT: the enumerators of two messages

const InstanceId kInstance("0123456789abcdef");

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    std::string pattern = testing::TempDir() + "/store.XXXXXX";
    dir_ = mkdtemp(pattern.data());
    state_ = dir_ + "/state";
    path_ = dir_ + "/state.db";
  }
  ~StoreTest() override {
    EXPECT_TRUE(ArmFailpoints("").ok());
    Close();
    (void)RemoveTree(dir_);
  }

  void Open() {
    Close();
    auto opened = OpenOrSetAside(path_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    database_ = std::move(opened->database);
    auto store = Store::Open(database_.get(), state_, kInstance, &report_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  void Close() {
    store_.reset();
    database_.reset();
  }

  PodRecord NewPod(PodState state = POD_STATE_READY) {
    PodRecord pod;
    pod.set_id(NewPodId().str());
    pod.set_instance_id(kInstance.str());
    pod.set_created_at_ns(store_->NextCreatedAt());
    pod.set_state(state);
    pod.mutable_config()->mutable_metadata()->set_name("web");
    return pod;
  }
  ContainerRecord NewContainer(const PodRecord& pod) {
    ContainerRecord container;
    container.set_id(NewContainerId().str());
    container.set_pod_id(pod.id());
    container.set_created_at_ns(store_->NextCreatedAt());
    container.set_state(CONTAINER_STATE_CREATED);
    auto* env = container.mutable_config()->add_envs();
    env->set_key("PASSWORD");
    env->set_value("hunter2");
    return container;
  }
  PodRecord AddPod() {
    PodRecord pod = NewPod();
    EXPECT_TRUE(store_->PutPod(pod, Durability::kNormal).ok());
    return pod;
  }
  ContainerRecord AddContainer(const PodRecord& pod, ContainerState state) {
    ContainerRecord container = NewContainer(pod);
    EXPECT_TRUE(store_->PutContainer(container, Durability::kNormal).ok());
    if (state != CONTAINER_STATE_CREATED) {
      container.set_state(state);
      EXPECT_TRUE(store_->PutContainer(container, Durability::kNormal).ok());
    }
    return container;
  }
  ContainerState StateOf(const ContainerRecord& record) {
    const ContainerRecordPtr found = store_->Container(ContainerId(record.id()));
    return found == nullptr ? CONTAINER_STATE_UNSPECIFIED : found->state();
  }
  // Runs `body` in a child that a failpoint kills.
  void Crash(const std::string& failpoint, const std::function<void()>& body) {
    Close();
    const pid_t child = fork();
    if (child == 0) {
      Open();
      if (!ArmFailpoints(failpoint + "=crash").ok()) _exit(3);
      body();
      _exit(4);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << failpoint << " " << status;
  }

  std::string dir_, state_, path_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<Store> store_;
  Store::Report report_;
};

TEST_F(StoreTest, RecordsAreThereAfterARestart) {
  Open();
  const PodRecord pod = AddPod();
  const ContainerRecord container = AddContainer(pod, CONTAINER_STATE_RUNNING);
  Open();
  ASSERT_NE(store_->Pod(PodId(pod.id())), nullptr);
  EXPECT_EQ(store_->Pod(PodId(pod.id()))->config().metadata().name(), "web");
  EXPECT_EQ(StateOf(container), CONTAINER_STATE_RUNNING);
  EXPECT_EQ(store_->ContainersOf(PodId(pod.id())).size(), 1u);
  EXPECT_FALSE(report_.rebuilt);
  EXPECT_EQ(report_.from_copies, 0);
}

TEST_F(StoreTest, AReaderKeepsTheRecordThatItGot) {
  Open();
  PodRecord pod = AddPod();
  const PodRecordPtr before = store_->Pod(PodId(pod.id()));
  pod.set_state(POD_STATE_NOTREADY);
  ASSERT_TRUE(store_->PutPod(pod, Durability::kNormal).ok());
  EXPECT_EQ(before->state(), POD_STATE_READY);
  EXPECT_EQ(store_->Pod(PodId(pod.id()))->state(), POD_STATE_NOTREADY);
}

TEST_F(StoreTest, ReadsDoNotWaitForAWrite) {
  Open();
  const PodRecord pod = AddPod();
  auto tx = database_->Write(Durability::kFull);  // a write that takes for ever
  size_t seen = 0;
  std::thread([&] {
    seen = store_->Pods().size() + (store_->FindPod(pod.id()).ok() ? 1 : 0);
  }).join();
  EXPECT_EQ(seen, 2u);
}

TEST_F(StoreTest, IllegalPutsChangeNothing) {
  Open();
  PodRecord pod = AddPod();
  ContainerRecord container = AddContainer(pod, CONTAINER_STATE_EXITED);
  container.set_state(CONTAINER_STATE_RUNNING);
  absl::Status status = store_->PutContainer(container, Durability::kNormal);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(StateOf(container), CONTAINER_STATE_EXITED);

  PodRecord moved = pod;
  moved.set_created_at_ns(store_->NextCreatedAt());
  EXPECT_EQ(store_->PutPod(moved, Durability::kNormal).code(), absl::StatusCode::kInvalidArgument);
  PodRecord twin = NewPod();
  twin.set_created_at_ns(pod.created_at_ns());
  EXPECT_EQ(store_->PutPod(twin, Durability::kNormal).code(), absl::StatusCode::kAlreadyExists);
  PodRecord future = NewPod();
  future.set_created_at_ns(future.created_at_ns() + 1000000);
  EXPECT_EQ(store_->PutPod(future, Durability::kNormal).code(), absl::StatusCode::kInvalidArgument);
  PodRecord bad_id = NewPod();
  bad_id.set_id("../../etc/passwd");
  EXPECT_EQ(store_->PutPod(bad_id, Durability::kNormal).code(), absl::StatusCode::kInvalidArgument);
  PodRecord absent = NewPod();
  EXPECT_EQ(store_->PutContainer(NewContainer(absent), Durability::kNormal).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->Pods().size(), 1u);
}

TEST_F(StoreTest, APutOfARecordThatWasReplacedMeanwhileIsAborted) {
  Open();
  const PodId id(AddPod().id());
  PodRecord first = *store_->Pod(id), second = *store_->Pod(id);
  first.set_state_reason("first");
  ASSERT_TRUE(store_->PutPod(first, Durability::kNormal).ok());
  second.set_state_reason("second");
  EXPECT_EQ(store_->PutPod(second, Durability::kNormal).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store_->Pod(id)->state_reason(), "first");
  EXPECT_EQ(store_->Pod(id)->revision(), 2u);
}

TEST_F(StoreTest, NoUpdateIsLostAmongOthers) {
  Open();
  const ContainerId id(AddContainer(AddPod(), CONTAINER_STATE_RUNNING).id());
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 25; ++round) {
        EXPECT_TRUE(store_
                        ->UpdateContainer(id,
                                          [](ContainerRecord* record) {
                                            record->set_attempt(record->attempt() + 1);
                                            return true;
                                          })
                        .ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_->Container(id)->attempt(), 100u);
  // An end is not undone by an update that was made from the running record.
  ASSERT_TRUE(store_
                  ->UpdateContainer(id,
                                    [](ContainerRecord* record) {
                                      record->set_state(CONTAINER_STATE_EXITED);
                                      return true;
                                    })
                  .ok());
  EXPECT_TRUE(store_->UpdateContainer(id, [](ContainerRecord*) { return false; }).ok());
  EXPECT_EQ(store_->Container(id)->state(), CONTAINER_STATE_EXITED);
  EXPECT_TRUE(
      store_->UpdateContainer(NewContainerId(), [](ContainerRecord*) { return true; }).ok());
}

TEST_F(StoreTest, RemovingAPodTakesItsContainersAndCopies) {
  Open();
  PodRecord pod = AddPod();
  ContainerRecord container = AddContainer(pod, CONTAINER_STATE_RUNNING);
  const PodId id(pod.id());
  ASSERT_TRUE(store_->copies().WriteSpec(id, ContainerId(container.id()), "{}").ok());
  EXPECT_EQ(store_->copies().ReadSpec(id, ContainerId(container.id())).value(), "{}");
  EXPECT_EQ(store_->RemovePod(id).code(), absl::StatusCode::kFailedPrecondition);
  pod.set_state(POD_STATE_NOTREADY);
  ASSERT_TRUE(store_->PutPod(pod, Durability::kNormal).ok());
  EXPECT_EQ(store_->RemovePod(id).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->RemoveContainer(ContainerId(container.id())).code(),
            absl::StatusCode::kFailedPrecondition);
  container.set_state(CONTAINER_STATE_EXITED);
  ASSERT_TRUE(store_->PutContainer(container, Durability::kNormal).ok());
  ASSERT_TRUE(store_->RemovePod(id).ok());
  ASSERT_TRUE(store_->RemovePod(id).ok());
  EXPECT_TRUE(store_->Containers().empty());
  EXPECT_TRUE(ListDirectory(state_ + "/pods").value().empty());
  Open();
  EXPECT_TRUE(store_->Pods().empty());
  EXPECT_TRUE(store_->Containers().empty());
}

TEST_F(StoreTest, APrefixFindsOneRecordOrSaysWhyNot) {
  Open();
  PodRecord a = NewPod(), b = NewPod();
  a.set_id("ab" + std::string(62, '0'));
  b.set_id("ac" + std::string(62, '0'));
  ASSERT_TRUE(store_->PutPod(a, Durability::kNormal).ok());
  ASSERT_TRUE(store_->PutPod(b, Durability::kNormal).ok());
  EXPECT_EQ((*store_->FindPod("ab"))->id(), a.id());
  EXPECT_EQ((*store_->FindPod(b.id()))->id(), b.id());
  EXPECT_EQ(store_->FindPod("a").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->FindPod("b").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->FindPod("").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->FindContainer("ab").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreTest, CreatedAtGrowsAcrossRestartsEvenWhenTheNewestIsGone) {
  Open();
  int64_t last = store_->NextCreatedAt();
  for (int i = 0; i < 100; ++i) {
    const int64_t next = store_->NextCreatedAt();
    EXPECT_GT(next, last);
    last = next;
  }
  PodRecord pod = AddPod();
  // As if the clock had been ahead: the row of marks is all that remembers.
  {
    auto tx = database_->Write(Durability::kFull);
    ASSERT_TRUE(tx->Execute("INSERT OR REPLACE INTO store_marks VALUES('last_created_at', "
                            "4000000000000000000)")
                    .ok());
    ASSERT_TRUE(tx->Commit().ok());
  }
  Open();
  EXPECT_GT(store_->NextCreatedAt(), 4000000000000000000);
  pod.set_state(POD_STATE_NOTREADY);
  ASSERT_TRUE(store_->PutPod(pod, Durability::kNormal).ok());
  ASSERT_TRUE(store_->RemovePod(PodId(pod.id())).ok());
  Open();
  EXPECT_GT(store_->NextCreatedAt(), 4000000000000000000);
}

TEST_F(StoreTest, FilesArePrivate) {
  Open();
  const PodRecord pod = AddPod();
  const ContainerRecord container = AddContainer(pod, CONTAINER_STATE_RUNNING);
  const std::string directory = state_ + "/pods/" + pod.id();
  struct stat st;
  for (const std::string& file : {path_, path_ + "-wal", directory + "/record",
                                  directory + "/containers/" + container.id() + ".record"}) {
    ASSERT_EQ(stat(file.c_str(), &st), 0) << file;
    EXPECT_EQ(st.st_mode & 0777, 0600u) << file;
  }
  for (const std::string& dir : {state_ + "/pods", directory, directory + "/containers"}) {
    ASSERT_EQ(stat(dir.c_str(), &st), 0) << dir;
    EXPECT_EQ(st.st_mode & 0777, 0700u) << dir;
  }
}

// ---- Damage

TEST_F(StoreTest, ALostDatabaseIsRebuiltFromCopies) {
  for (absl::string_view how : {"missing", "empty", "truncate", "zero", "flip"}) {
    Open();
    const PodRecord pod = AddPod();
    const ContainerRecord container = AddContainer(pod, CONTAINER_STATE_RUNNING);
    const size_t pods = store_->Pods().size();
    Close();
    std::string bytes = ReadFile(path_).value();
    if (how == "truncate") bytes.resize(bytes.size() - 5000);
    if (how == "zero") bytes.assign(bytes.size(), '\0');
    if (how == "empty") bytes.clear();
    if (how == "flip")
      for (size_t i = 100; i < bytes.size(); i += 7) bytes[i] ^= 0x55;
    ASSERT_TRUE(WriteFileAtomically(path_, bytes, 0600).ok());
    if (how == "missing") unlink(path_.c_str());
    Open();
    EXPECT_TRUE(report_.rebuilt) << how;
    EXPECT_EQ(report_.lost, 0) << how;
    EXPECT_EQ(store_->Pods().size(), pods) << how;
    EXPECT_EQ(StateOf(container), CONTAINER_STATE_RUNNING) << how;
    EXPECT_GT(store_->NextCreatedAt(), container.created_at_ns()) << how;
    Open();
    EXPECT_FALSE(report_.rebuilt) << how;
    EXPECT_EQ(store_->Pods().size(), pods) << how;
  }
}

TEST_F(StoreTest, ADamagedRecordComesFromItsCopy) {
  Open();
  const PodRecord pod = AddPod();
  const PodRecord other = AddPod();
  {
    auto tx = database_->Write(Durability::kFull);
    ASSERT_TRUE(tx->Execute("UPDATE pods SET record=x'ffff'").ok());
    ASSERT_TRUE(tx->Commit().ok());
  }
  ASSERT_EQ(unlink((state_ + "/pods/" + other.id() + "/record").c_str()), 0);
  Open();
  EXPECT_EQ(report_.from_copies, 1);
  EXPECT_EQ(report_.lost, 1);
  EXPECT_NE(store_->Pod(PodId(pod.id())), nullptr);
  EXPECT_EQ(store_->Pod(PodId(other.id())), nullptr);
}

TEST_F(StoreTest, BrokenCopiesAreHarmless) {
  Open();
  const PodRecord pod = AddPod();
  Close();
  ASSERT_TRUE(WriteFileAtomically(state_ + "/pods/" + pod.id() + "/record", "\xff\x01", 0600).ok());
  ASSERT_TRUE(MakeDirectories(state_ + "/pods/junk/containers/x.record", 0700).ok());
  ASSERT_TRUE(WriteFileAtomically(state_ + "/pods/file", "", 0600).ok());
  Open();
  EXPECT_EQ(store_->Pods().size(), 1u);
  Close();
  EXPECT_EQ(unlink(path_.c_str()), 0);
  Open();  // the row's copy was mended
  EXPECT_EQ(store_->Pods().size(), 1u);
}

TEST_F(StoreTest, ANewerFileIsRefusedAndKept) {
  Open();
  AddPod();
  {
    auto tx = database_->Write(Durability::kFull);
    ASSERT_TRUE(tx->Execute("UPDATE schema_versions SET version=9, berth_version='7.0.0'").ok());
    ASSERT_TRUE(tx->Commit().ok());
  }
  auto store = Store::Open(database_.get(), state_, kInstance, nullptr);
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(store.status().message().find("7.0.0"), absl::string_view::npos) << store.status();
}

// ---- A disk that is full

TEST_F(StoreTest, ExitsAndRemovalsSucceedOnAFailingDisk) {
  Open();
  PodRecord pod = AddPod();
  ContainerRecord container = AddContainer(pod, CONTAINER_STATE_RUNNING);
  ContainerRecord gone = AddContainer(pod, CONTAINER_STATE_EXITED);
  ASSERT_TRUE(ArmFailpoints("sqlite.commit=error").ok());
  EXPECT_FALSE(store_->PutPod(NewPod(), Durability::kNormal).ok());
  EXPECT_EQ(store_->Pods().size(), 1u);
  container.set_state(CONTAINER_STATE_EXITED);
  container.set_exit_code(3);
  ASSERT_TRUE(store_->PutContainer(container, Durability::kNormal).ok());
  EXPECT_EQ(StateOf(container), CONTAINER_STATE_EXITED);
  ASSERT_TRUE(store_->RemoveContainer(ContainerId(gone.id())).ok());
  EXPECT_EQ(StateOf(gone), CONTAINER_STATE_UNSPECIFIED);
  ASSERT_TRUE(ArmFailpoints("").ok());
  Open();  // nothing was retried: the copy tells
  EXPECT_EQ(StateOf(container), CONTAINER_STATE_EXITED);
  EXPECT_EQ(store_->Container(ContainerId(container.id()))->exit_code(), 3);
  EXPECT_EQ(report_.from_copies, 1);
}

TEST_F(StoreTest, WhatCouldNotBeWrittenIsWrittenWithTheNextPut) {
  Open();
  PodRecord pod = AddPod();
  ContainerRecord container = AddContainer(pod, CONTAINER_STATE_RUNNING);
  ContainerRecord gone = AddContainer(pod, CONTAINER_STATE_EXITED);
  ASSERT_TRUE(ArmFailpoints("sqlite.commit=error").ok());
  container.set_state(CONTAINER_STATE_EXITED);
  ASSERT_TRUE(store_->PutContainer(container, Durability::kNormal).ok());
  ASSERT_TRUE(store_->RemoveContainer(ContainerId(gone.id())).ok());
  ASSERT_TRUE(ArmFailpoints("").ok());
  AddPod();
  Close();
  ASSERT_TRUE(RemoveTree(state_).ok());  // as after a power cut
  Open();
  EXPECT_EQ(report_.from_copies, 0);
  EXPECT_EQ(StateOf(container), CONTAINER_STATE_EXITED);
  EXPECT_EQ(StateOf(gone), CONTAINER_STATE_UNSPECIFIED);
}

// ---- kill -9

TEST_F(StoreTest, KillBeforeTheCommitLeavesTheOldRecord) {
  Open();
  PodRecord pod = AddPod();
  for (const char* failpoint : {"store.put_pod", "sqlite.commit"}) {
    Crash(failpoint, [&] {
      PodRecord stopped = pod;
      stopped.set_state(POD_STATE_NOTREADY);
      (void)store_->PutPod(stopped, Durability::kNormal);
    });
    Open();
    EXPECT_EQ(store_->Pod(PodId(pod.id()))->state(), POD_STATE_READY) << failpoint;
  }
}

TEST_F(StoreTest, KillAfterTheCommitLeavesTheNewRecordAndTheCopyIsMended) {
  Open();
  PodRecord pod = AddPod();
  Crash("sqlite.committed", [&] {
    PodRecord stopped = pod;
    stopped.set_state(POD_STATE_NOTREADY);
    (void)store_->PutPod(stopped, Durability::kNormal);
  });
  Open();
  EXPECT_EQ(store_->Pod(PodId(pod.id()))->state(), POD_STATE_NOTREADY);
  Close();
  EXPECT_EQ(unlink(path_.c_str()), 0);
  Open();
  EXPECT_EQ(store_->Pod(PodId(pod.id()))->state(), POD_STATE_NOTREADY);
}

TEST_F(StoreTest, KillInARemovalLeavesAllOrNothing) {
  Open();
  PodRecord pod = AddPod();
  AddContainer(pod, CONTAINER_STATE_EXITED);
  pod.set_state(POD_STATE_NOTREADY);
  ASSERT_TRUE(store_->PutPod(pod, Durability::kNormal).ok());
  Crash("store.remove_pod", [&] { (void)store_->RemovePod(PodId(pod.id())); });
  Open();
  EXPECT_EQ(store_->Pods().size() + store_->Containers().size(), 2u);
  Crash("sqlite.committed", [&] { (void)store_->RemovePod(PodId(pod.id())); });
  Open();
  EXPECT_TRUE(store_->Pods().empty());
  EXPECT_TRUE(store_->Containers().empty());
  EXPECT_TRUE(ListDirectory(state_ + "/pods").value().empty()) << "copies of what was removed";
}

// Notes what it hears as `web: 0>2` (states; 0 is none).
class Notes : public StoreListener {
 public:
  void OnPod(const PodRecordPtr& before, const PodRecordPtr& after) override {
    Note("pod", before, after);
  }
  void OnContainer(const ContainerRecordPtr& before, const ContainerRecordPtr& after) override {
    Note("container", before, after);
  }
  std::vector<std::string> Take() { return std::exchange(notes_, {}); }

 private:
  template <typename Ptr>
  void Note(const std::string& kind, const Ptr& before, const Ptr& after) {
    notes_.push_back(absl::StrCat(kind, " ", before == nullptr ? 0 : before->state(), ">",
                                  after == nullptr ? 0 : after->state()));
  }
  std::vector<std::string> notes_;
};

TEST_F(StoreTest, ListenersHearEveryChangeInItsOrder) {
  Open();
  Notes notes;
  store_->AddListener(&notes);
  PodRecord pod = AddPod();
  AddContainer(pod, CONTAINER_STATE_EXITED);
  pod.set_state(POD_STATE_NOTREADY);
  ASSERT_TRUE(store_->PutPod(pod, Durability::kNormal).ok());
  const auto heard = notes.Take();
  ASSERT_EQ(heard.front(), "pod 0>2");
  EXPECT_EQ(heard.back(), "pod 2>3");
  // A fact that the disk refuses is shown, and so is told of.
  ASSERT_TRUE(ArmFailpoints("store.remove_pod=error").ok());
  ASSERT_TRUE(store_->RemovePod(PodId(pod.id())).ok());
  EXPECT_EQ(notes.Take(), (std::vector<std::string>{"container 3>0", "pod 3>0"}));
  ASSERT_TRUE(store_->RemovePod(PodId(pod.id())).ok());
  EXPECT_TRUE(notes.Take().empty());
}

TEST_F(StoreTest, PutsFromManyThreadsAreAllThere) {
  Open();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      for (int j = 0; j < 20; ++j) {
        PodRecord pod = AddPod();
        AddContainer(pod, CONTAINER_STATE_RUNNING);
        (void)store_->Pods();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Open();
  EXPECT_EQ(store_->Pods().size(), 80u);
  EXPECT_EQ(store_->Containers().size(), 80u);
  int64_t last = 0;
  for (const PodRecordPtr& pod : store_->Pods()) {
    EXPECT_GT(pod->created_at_ns(), last);
    last = pod->created_at_ns();
  }
}

}  // namespace
}  // namespace berth
