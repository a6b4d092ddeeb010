// The service over a loopback registry that misbehaves and a layer store in memory. What needs real
// layers is in tests/images.
#include "server/images/image_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/sqlite.h"
#include "server/images/digest.h"
#include "server/images/test_http_server.h"
#include "snapshotter/layer_store.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Request = TestHttpServer::Request;
using Reply = TestHttpServer::Reply;

// Layers are their bytes: no compression, no files.
class FakeLayerStore : public LayerStore {
 public:
  class Lease : public LayerLease {
   public:
    explicit Lease(FakeLayerStore* store) : store_(store) {
      MutexLock lock(&store_->mu_);
      store_->leases_.insert(this);
    }
    ~Lease() override {
      MutexLock lock(&store_->mu_);
      store_->leases_.erase(this);
    }
    FakeLayerStore* const store_;
    std::set<DiffId> layers;
  };

  class Ingest : public LayerIngest {
   public:
    Ingest(FakeLayerStore* store, DiffId expected)
        : store_(store), expected_(std::move(expected)), hasher_("sha256") {}
    absl::Status Write(absl::string_view bytes) override {
      hasher_.Update(bytes);
      return absl::OkStatus();
    }
    absl::StatusOr<LayerInfo> Commit(LayerLease& lease) override {
      if (hasher_.Finish() != expected_.str()) return absl::DataLossError("another diff ID");
      MutexLock lock(&store_->mu_);
      store_->layers_.insert(expected_);
      ++store_->commits;
      static_cast<Lease&>(lease).layers.insert(expected_);
      return LayerInfo{.diff_id = expected_};
    }
    void Cancel() override {}

   private:
    FakeLayerStore* const store_;
    const DiffId expected_;
    DigestHasher hasher_;
  };

  std::unique_ptr<LayerLease> NewLease() override { return std::make_unique<Lease>(this); }
  absl::StatusOr<LayerInfo> Acquire(const DiffId& layer, LayerLease& lease) override {
    MutexLock lock(&mu_);
    if (layers_.count(layer) == 0) return absl::NotFoundError(layer.str());
    static_cast<Lease&>(lease).layers.insert(layer);
    return LayerInfo{.diff_id = layer};
  }
  absl::StatusOr<std::unique_ptr<LayerIngest>> BeginIngest(const IngestRequest& request) override {
    return std::make_unique<Ingest>(this, request.expected);
  }
  absl::StatusOr<std::vector<DiffId>> CompleteLayers(absl::Span<const DiffId> layers,
                                                     LayerLease& lease) override {
    return std::vector<DiffId>(layers.begin(), layers.end());
  }
  absl::Status Reference(absl::string_view owner, absl::Span<const DiffId> layers) override {
    MutexLock lock(&mu_);
    references_[std::string(owner)] = std::set<DiffId>(layers.begin(), layers.end());
    return absl::OkStatus();
  }
  absl::Status Unreference(absl::string_view owner) override {
    MutexLock lock(&mu_);
    references_.erase(std::string(owner));
    return absl::OkStatus();
  }
  absl::Status RetainReferences(absl::Span<const std::string> owners) override {
    MutexLock lock(&mu_);
    const std::set<std::string> keep(owners.begin(), owners.end());
    for (auto it = references_.begin(); it != references_.end();) {
      it = keep.count(it->first) == 0 ? references_.erase(it) : std::next(it);
    }
    return absl::OkStatus();
  }
  absl::StatusOr<int> Collect() override {
    MutexLock lock(&mu_);
    std::set<DiffId> needed;
    for (const auto& [owner, layers] : references_) needed.insert(layers.begin(), layers.end());
    for (const Lease* lease : leases_) needed.insert(lease->layers.begin(), lease->layers.end());
    const int before = layers_.size();
    layers_ = needed;
    return before - static_cast<int>(needed.size());
  }
  std::vector<LayerInfo> List() const override {
    MutexLock lock(&mu_);
    std::vector<LayerInfo> all;
    for (const DiffId& layer : layers_)
      all.push_back(LayerInfo{.diff_id = layer, .file_bytes = 10, .disk_bytes = 4096, .inodes = 3});
    return all;
  }
  absl::Status Verify(const LayerGeneration&, bool) override { return absl::OkStatus(); }

  std::atomic<int> commits{0};

 private:
  mutable Mutex mu_;
  std::set<DiffId> layers_ ABSL_GUARDED_BY(mu_);
  std::set<Lease*> leases_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::set<DiffId>> references_ ABSL_GUARDED_BY(mu_);
};

// A registry of images whose layers are the given texts.
class FakeRegistry {
 public:
  void Push(const std::string& repository_tag, const std::vector<std::string>& layers,
            const std::string& mark = "") {
    std::string diff_ids, descriptors;
    for (const std::string& layer : layers) {
      const std::string digest = DigestOf("sha256", layer);
      blobs_[digest] = layer;
      absl::StrAppend(&diff_ids, diff_ids.empty() ? "\"" : ",\"", digest, "\"");
      absl::StrAppend(&descriptors, descriptors.empty() ? "" : ",",
                      R"({"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":")", digest,
                      R"(","size":)", layer.size(), "}");
    }
    const std::string config =
        absl::StrCat(R"({"config":{"User":")", mark, R"("},"rootfs":{"type":"layers","diff_ids":[)",
                     diff_ids, "]}}");
    const std::string config_digest = DigestOf("sha256", config);
    blobs_[config_digest] = config;
    const std::string manifest = absl::StrCat(
        R"({"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",)",
        R"("digest":")", config_digest, R"(","size":)", config.size(), R"(},"layers":[)",
        descriptors, "]}");
    const size_t colon = repository_tag.find(':');
    const std::string prefix = "/v2/" + repository_tag.substr(0, colon) + "/manifests/";
    manifests_[prefix + repository_tag.substr(colon + 1)] = manifest;
    manifests_[prefix + DigestOf("sha256", manifest)] = manifest;
  }

  Reply Serve(const Request& request) {
    if (!password.empty() && request.Header("authorization") != password) {
      return Reply{.code = 401, .headers = {{"WWW-Authenticate", "Basic realm=\"r\""}}};
    }
    if (const auto it = manifests_.find(request.target); it != manifests_.end()) {
      return Reply{.headers = {{"Content-Type", "application/vnd.oci.image.manifest.v1+json"}},
                   .body = it->second};
    }
    const size_t at = request.target.find("/blobs/");
    const auto blob =
        at == std::string::npos ? blobs_.end() : blobs_.find(request.target.substr(at + 7));
    if (blob == blobs_.end()) return Reply{.code = 404};
    if (stall && blob->second == stalled) {
      return Reply{.body = blob->second, .cut = 1, .stall = true};
    }
    return Reply{.body =
                     blob->second == tampered ? std::string(tampered.size(), '!') : blob->second};
  }

  std::string password;
  std::string tampered;
  std::string stalled;
  std::atomic<bool> stall{false};

 private:
  std::map<std::string, std::string> blobs_;
  std::map<std::string, std::string> manifests_;
};

class ImageServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "images.XXXXXX";
    ASSERT_NE(mkdtemp(root_.data()), nullptr);
    registry_.Push("app:v1", {"layer one", "layer two", "layer one"});
    registry_.Push("app:v2", {"layer one", "layer three"});
    Reopen();
  }
  void TearDown() override {
    service_.reset();
    database_.reset();
    EXPECT_TRUE(RemoveTree(root_).ok());
  }
  void Reopen() {
    service_.reset();
    database_.reset();
    auto database = Database::Open(root_ + "/state.db", {});
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    ImageServiceOptions options;
    options.root = root_;
    options.stall_timeout = absl::Minutes(1);
    auto service = ImageService::Open(options, database_.get(), &layers_);
    ASSERT_TRUE(service.ok()) << service.status();
    service_ = *std::move(service);
  }
  std::string Ref(const std::string& rest) { return server_.host() + "/" + rest; }
  absl::StatusOr<PulledImage> Pull(const std::string& rest, const RegistryAuth& auth = {}) {
    Cancellation cancellation;
    return service_->Pull(Ref(rest), auth, &cancellation);
  }
  int Requests(const std::string& part) {
    int count = 0;
    for (const Request& request : server_.requests())
      count += absl::StrContains(request.target, part);
    return count;
  }
  std::vector<std::string> Files(const std::string& directory) {
    return *ListDirectory(root_ + "/blobs/" + directory);
  }

  std::string root_;
  FakeRegistry registry_;
  TestHttpServer server_{[this](const Request& request) { return registry_.Serve(request); }};
  FakeLayerStore layers_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<ImageService> service_;
};

TEST_F(ImageServiceTest, APulledImageIsListedAlsoAfterARestart) {
  const auto pulled = Pull("app:v1");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  for (int round = 0; round < 2; ++round) {
    const auto image = service_->Resolve(Ref("app:v1"));
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ((*image)->id, pulled->id);
    EXPECT_THAT((*image)->repo_tags, ElementsAre(Ref("app:v1")));
    EXPECT_THAT((*image)->repo_digests, ElementsAre(pulled->repo_digest));
    EXPECT_EQ((*image)->layers.size(), 3u);
    EXPECT_EQ((*image)->diff_ids.size(), 3u);
    EXPECT_GT((*image)->size, 27u);
    EXPECT_EQ(service_->List("").size(), 1u);
    EXPECT_TRUE(service_->Resolve(pulled->id.str()).ok());
    EXPECT_TRUE(service_->Resolve(pulled->repo_digest).ok());
    Reopen();
  }
  EXPECT_EQ(layers_.commits, 2);  // the layer that occurs twice is fetched once
  EXPECT_EQ(service_->FsInfo().used_bytes, 2 * 4096u);
  EXPECT_EQ(service_->FsInfo().inodes_used, 6u);
}

TEST_F(ImageServiceTest, LayersThatAreThereAreNotFetchedAgain) {
  ASSERT_TRUE(Pull("app:v1").ok());
  ASSERT_TRUE(Pull("app:v2").ok());
  EXPECT_EQ(Requests(DigestOf("sha256", "layer one")), 1);
  const int before = Requests("/blobs/");
  ASSERT_TRUE(Pull("app:v1").ok());
  EXPECT_EQ(Requests("/blobs/"), before);
  EXPECT_EQ(Requests("/manifests/v1"), 2);
}

TEST_F(ImageServiceTest, EachPullIsAuthorisedEvenIfAllIsThere) {
  registry_.password = "Basic dTpw";
  RegistryAuth auth;
  auth.username = "u";
  auth.password = "p";
  ASSERT_TRUE(Pull("app:v1", auth).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(Pull("app:v1").status()));
  auth.password = "secret";
  const absl::Status refused = Pull("app:v1", auth).status();
  EXPECT_TRUE(absl::IsUnauthenticated(refused)) << refused;
  EXPECT_FALSE(absl::StrContains(refused.ToString(), "secret"));
}

TEST_F(ImageServiceTest, TamperedLayersLeaveNothing) {
  registry_.tampered = "layer two";
  const absl::Status status = Pull("app:v1").status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("content has digest"));
  EXPECT_THAT(service_->List(""), IsEmpty());
  EXPECT_THAT(Files("sha256"), IsEmpty());
  registry_.tampered = "";
  EXPECT_TRUE(Pull("app:v1").ok());
}

TEST_F(ImageServiceTest, EqualPullsAreJoinedAndOneMayCancel) {
  registry_.stalled = "layer two";
  registry_.stall = true;
  Cancellation first, second;
  absl::Status one, two;
  std::thread a([&] { one = service_->Pull(Ref("app:v1"), {}, &first).status(); });
  std::thread b([&] { two = service_->Pull(Ref("app:v1"), {}, &second).status(); });
  while (Requests(DigestOf("sha256", "layer two")) == 0) std::this_thread::yield();
  first.Cancel();
  a.join();
  EXPECT_TRUE(absl::IsCancelled(one)) << one;
  second.Cancel();
  b.join();
  EXPECT_TRUE(absl::IsCancelled(two)) << two;
  EXPECT_LE(Requests("/manifests/v1"), 2);  // 2 if the threads came one after the other
  registry_.stall = false;
  EXPECT_TRUE(Pull("app:v1").ok());
}

TEST_F(ImageServiceTest, ManyEqualPullsDownloadOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { good += Pull("app:v1").ok() ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 8);
  EXPECT_EQ(Requests(DigestOf("sha256", "layer one")), 1);
  EXPECT_EQ(Requests(DigestOf("sha256", "layer two")), 1);
}

TEST_F(ImageServiceTest, AWaiterGoesOnWithItsOwnWhenTheOwnerCancels) {
  registry_.Push("other:v1", {"layer two", "layer four"});
  registry_.stalled = "layer two";
  registry_.stall = true;
  Cancellation owner, waiter;
  absl::Status one, two;
  std::thread a([&] { one = service_->Pull(Ref("app:v1"), {}, &owner).status(); });
  while (Requests(DigestOf("sha256", "layer two")) == 0) std::this_thread::yield();
  std::thread b([&] { two = service_->Pull(Ref("other:v1"), {}, &waiter).status(); });
  while (Requests("/other/manifests/v1") == 0) std::this_thread::yield();
  registry_.stall = false;
  owner.Cancel();
  a.join();
  b.join();
  EXPECT_TRUE(absl::IsCancelled(one));
  EXPECT_TRUE(two.ok()) << two;
  EXPECT_EQ(Requests("/other/blobs/" + DigestOf("sha256", "layer two")), 1);
}

TEST_F(ImageServiceTest, ADeadlineEndsAPull) {
  registry_.stalled = "layer two";
  registry_.stall = true;
  Cancellation cancellation(absl::Now() + absl::Milliseconds(100));
  EXPECT_TRUE(absl::IsDeadlineExceeded(service_->Pull(Ref("app:v1"), {}, &cancellation).status()));
}

TEST_F(ImageServiceTest, RemovalByTagAndById) {
  const auto pulled = Pull("app:v1");
  ASSERT_TRUE(pulled.ok());
  registry_.Push("app:copy", {"layer one", "layer two", "layer one"});
  ASSERT_TRUE(Pull("app:copy").ok());
  EXPECT_THAT((*service_->Resolve(pulled->id.str()))->repo_tags,
              ElementsAre(Ref("app:copy"), Ref("app:v1")));
  ASSERT_TRUE(service_->Remove(Ref("app:v1")).ok());
  EXPECT_THAT((*service_->Resolve(pulled->id.str()))->repo_tags, ElementsAre(Ref("app:copy")));
  ASSERT_TRUE(service_->Remove(Ref("app:copy")).ok());
  EXPECT_THAT(service_->List(""), IsEmpty());
  EXPECT_THAT(layers_.List(), IsEmpty());
  EXPECT_THAT(Files("sha256"), IsEmpty());
  EXPECT_THAT(Files("images"), IsEmpty());
  EXPECT_TRUE(service_->Remove(Ref("app:copy")).ok());
  EXPECT_TRUE(service_->Remove(pulled->id.str()).ok());
  ASSERT_TRUE(Pull("app:v1").ok());
  ASSERT_TRUE(Pull("app:v2").ok());
  ASSERT_TRUE(service_->Remove(pulled->id.str()).ok());
  EXPECT_EQ(service_->List("").size(), 1u);
  EXPECT_EQ(layers_.List().size(), 2u);  // what v2 needs stays
}

TEST_F(ImageServiceTest, ATagThatMovesLeavesTheOldImageByDigest) {
  const auto old = Pull("app:v1");
  ASSERT_TRUE(old.ok());
  registry_.Push("app:v1", {"layer five"});
  const auto pulled = Pull("app:v1");
  ASSERT_TRUE(pulled.ok());
  Reopen();
  EXPECT_EQ((*service_->Resolve(Ref("app:v1")))->id, pulled->id);
  EXPECT_THAT((*service_->Resolve(old->id.str()))->repo_tags, IsEmpty());
  EXPECT_THAT((*service_->Resolve(old->id.str()))->repo_digests, ElementsAre(old->repo_digest));
}

TEST_F(ImageServiceTest, ALostDatabaseIsRebuiltWithNames) {
  const auto old = Pull("app:v1");
  ASSERT_TRUE(old.ok());
  registry_.Push("app:v1", {"layer five"});
  const auto pulled = Pull("app:v1");
  ASSERT_TRUE(pulled.ok());
  service_.reset();
  database_.reset();
  for (const char* suffix : {"", "-wal", "-shm"}) unlink((root_ + "/state.db" + suffix).c_str());
  Reopen();
  EXPECT_EQ(service_->List("").size(), 2u);
  EXPECT_EQ((*service_->Resolve(Ref("app:v1")))->id, pulled->id);
  EXPECT_THAT((*service_->Resolve(old->id.str()))->repo_digests, ElementsAre(old->repo_digest));
}

TEST_F(ImageServiceTest, AnImageWithADamagedBlobIsUnlisted) {
  const auto pulled = Pull("app:v1");
  ASSERT_TRUE(pulled.ok());
  ASSERT_TRUE(
      WriteFileAtomically(root_ + "/blobs/sha256/" + pulled->id.str().substr(7), "x", 0600).ok());
  Reopen();
  EXPECT_THAT(service_->List(""), IsEmpty());
  EXPECT_THAT(Files("sha256"), IsEmpty());
  EXPECT_TRUE(Pull("app:v1").ok());
}

TEST_F(ImageServiceTest, BadReferencesAreRefused) {
  Cancellation cancellation;
  EXPECT_TRUE(absl::IsInvalidArgument(service_->Pull("UPPER", {}, &cancellation).status()));
  EXPECT_TRUE(absl::IsNotFound(Pull("app:missing").status()));
  EXPECT_TRUE(absl::IsNotFound(service_->Resolve("busybox").status()));
}

}  // namespace
}  // namespace berth
