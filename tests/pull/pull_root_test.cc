// Pulls from Debian's docker-registry on loopback into the real overlay store. Needs root.
//
// Arguments: the paths of push-images, serve-registry and berth-unpack.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "base/sqlite.h"
#include "base/subprocess.h"
#include "server/images/image_service.h"
#include "snapshotter/overlay_store.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string push_images, serve_registry, unpacker;

// A bcrypt line for user:secret, made by crypt(3).
constexpr char kHtpasswd[] = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

SubprocessResult RunProgram(const std::vector<std::string>& argv) {
  const auto result = RunSubprocess(
      {.argv = argv,
       .environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
      absl::Now() + absl::Minutes(1));
  EXPECT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 0) << argv[0] << ": " << result->stderr_tail;
  return *result;
}

int FreePort() {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

bool Answers(int port) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

// docker-registry over a directory, ended with the object.
class Registry {
 public:
  Registry(const std::string& storage, const std::vector<std::string>& arguments,
           const std::vector<std::pair<std::string, std::string>>& environment = {})
      : port_(FreePort()) {
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
      for (const int fd : {0, 1, 2}) dup2(null, fd);
      for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
      const std::string address = host();
      std::vector<char*> argv = {serve_registry.data(), const_cast<char*>(address.c_str()),
                                 const_cast<char*>(storage.c_str())};
      for (const std::string& argument : arguments)
        argv.push_back(const_cast<char*>(argument.c_str()));
      argv.push_back(nullptr);
      execv(argv[0], argv.data());
      _exit(127);
    }
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (!Answers(port_) && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(20));
    EXPECT_TRUE(Answers(port_));
  }
  ~Registry() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::string host() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  const int port_;
  pid_t pid_ = -1;
};

class PullTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    base_ = new std::string("/var/tmp/berth-pull.XXXXXX");
    ASSERT_NE(mkdtemp(base_->data()), nullptr);
    registry_ = new Registry(*base_ + "/registry", {});
    RunProgram({push_images, registry_->host()});
  }
  static void TearDownTestSuite() {
    delete registry_;
    EXPECT_TRUE(RemoveTree(*base_).ok());
    delete base_;
  }

  void SetUp() override {
    root_ = *base_ + "/root";
    ASSERT_TRUE(MakeDirectories(root_, 0700).ok());
    ASSERT_TRUE(MakeDirectories(*base_ + "/certs.d", 0755).ok());
    Open();
  }
  void TearDown() override {
    Close();
    EXPECT_TRUE(RemoveTree(root_).ok());
    EXPECT_TRUE(RemoveTree(*base_ + "/certs.d").ok());
  }
  void Close() {
    service_.reset();
    store_.reset();
    database_.reset();
  }
  void Open(bool adopt = false) {
    auto database = Database::Open(root_ + "/state.db", {});
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    auto store =
        OpenOverlayStore(*database_, {.root = root_, .unpacker = unpacker, .adopt = adopt});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    ImageServiceOptions options;
    options.root = root_;
    options.config_path = *base_ + "/certs.d";
    auto service = ImageService::Open(options, database_.get(), &store_->layers());
    ASSERT_TRUE(service.ok()) << service.status();
    service_ = *std::move(service);
  }
  absl::StatusOr<PulledImage> Pull(const std::string& reference, const RegistryAuth& auth = {}) {
    Cancellation cancellation(absl::Now() + absl::Minutes(1));
    return service_->Pull(reference, auth, &cancellation);
  }
  static std::string Ref(const std::string& name) {
    return registry_->host() + "/berth-test/" + name;
  }
  void WriteHosts(const std::string& host, const std::string& text) {
    const std::string directory = *base_ + "/certs.d/" + host;
    ASSERT_TRUE(MakeDirectories(directory, 0755).ok());
    ASSERT_TRUE(WriteFileAtomically(directory + "/hosts.toml", text, 0644).ok());
  }

  static std::string* base_;
  static Registry* registry_;
  std::string root_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<OverlayStore> store_;
  std::unique_ptr<ImageService> service_;
};

std::string* PullTest::base_ = nullptr;
Registry* PullTest::registry_ = nullptr;

TEST_F(PullTest, EveryFormIsPulledSurvivesARestartAndGoes) {
  const std::vector<std::string> names = {"busybox:1", "layers:1", "zstd:1", "docker:1", "index:1",
                                          "user:1",    "tags:1",   "tags:2", "tags:3"};
  for (const std::string& name : names) {
    const auto pulled = Pull(Ref(name));
    ASSERT_TRUE(pulled.ok()) << name << ": " << pulled.status();
  }
  Close();
  Open();
  // zstd:1 has the config of layers:1, so it is the same image under two names.
  EXPECT_EQ(service_->List("").size(), 6u);
  EXPECT_EQ((*service_->Resolve(Ref("zstd:1")))->id, (*service_->Resolve(Ref("layers:1")))->id);
  EXPECT_EQ((*service_->Resolve(Ref("tags:2")))->repo_tags.size(), 3u);
  const auto user = service_->Resolve(Ref("user:1"));
  ASSERT_TRUE(user.ok());
  EXPECT_EQ((*user)->config.user, "www-data:100");
  EXPECT_EQ((*user)->config.stop_signal, "SIGUSR1");
  EXPECT_GT(service_->FsInfo().used_bytes, 100'000u);
  const auto layers = service_->Resolve(Ref("layers:1"));
  ASSERT_TRUE(layers.ok());
  ASSERT_TRUE(store_->snapshots().Prepare(SnapshotId("c1"), (*layers)->layers).ok());
  for (const auto& image : service_->List("")) {
    EXPECT_TRUE(service_->Remove(image->id.str()).ok());
  }
  EXPECT_THAT(service_->List(""), IsEmpty());
  EXPECT_GE(store_->layers().List().size(), 3u);  // the snapshot's
  ASSERT_TRUE(store_->snapshots().Remove(SnapshotId("c1")).ok());
  ASSERT_TRUE(service_->CollectGarbage().ok());
  EXPECT_THAT(store_->layers().List(), IsEmpty());
}

TEST_F(PullTest, PullsAtOnceShareLayers) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (const char* name : {"busybox:1", "busybox:1", "other:1", "tags:1", "layers:1", "docker:1"}) {
    threads.emplace_back([&, name] {
      const auto pulled = Pull(Ref(name));
      EXPECT_TRUE(pulled.ok()) << pulled.status();
      good += pulled.ok() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 6);
  EXPECT_EQ(service_->List("").size(), 5u);
  EXPECT_EQ(std::filesystem::exists(root_ + "/layers"), true);
}

TEST_F(PullTest, ALostDatabaseIsRebuilt) {
  const auto pulled = Pull(Ref("layers:1"));
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  Close();
  for (const char* suffix : {"", "-wal", "-shm"}) unlink((root_ + "/state.db" + suffix).c_str());
  Open(true);
  const auto image = service_->Resolve(Ref("layers:1"));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ((*image)->id, pulled->id);
  EXPECT_TRUE(store_->snapshots().Prepare(SnapshotId("c1"), (*image)->layers).ok());
}

TEST_F(PullTest, BasicAuthenticationByHtpasswd) {
  const std::string file = *base_ + "/htpasswd";
  ASSERT_TRUE(WriteFileAtomically(file, kHtpasswd, 0600).ok());
  const Registry closed(*base_ + "/registry", {file});
  const std::string reference = closed.host() + "/berth-test/busybox:1";
  EXPECT_TRUE(absl::IsUnauthenticated(Pull(reference).status()));
  RegistryAuth auth;
  auth.username = "user";
  auth.password = "wrong-secret";
  const absl::Status refused = Pull(reference, auth).status();
  EXPECT_TRUE(absl::IsUnauthenticated(refused)) << refused;
  EXPECT_FALSE(absl::StrContains(refused.ToString(), "wrong-secret"));
  auth.password = "secret";
  const auto pulled = Pull(reference, auth);
  EXPECT_TRUE(pulled.ok()) << pulled.status();
}

TEST_F(PullTest, TlsWithACaOfOurOwn) {
  const std::string key = *base_ + "/key.pem", cert = *base_ + "/cert.pem";
  RunProgram({"/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
              "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=berth-test",
              "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert});
  const Registry tls(*base_ + "/registry", {},
                     {{"REGISTRY_HTTP_TLS_CERTIFICATE", cert}, {"REGISTRY_HTTP_TLS_KEY", key}});
  const std::string reference = tls.host() + "/berth-test/busybox:1";
  const std::string server = "server = \"https://" + tls.host() + "\"\n";
  WriteHosts(tls.host(), server);
  const absl::Status untrusted = Pull(reference).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(untrusted)) << untrusted;
  WriteHosts(tls.host(), server + "skip_verify = true\n");
  EXPECT_TRUE(Pull(reference).ok());
  WriteHosts(tls.host(), server + "ca = \"" + cert + "\"\n");
  const auto pulled = Pull(reference);
  EXPECT_TRUE(pulled.ok()) << pulled.status();
}

TEST_F(PullTest, AMirrorServesUnderTheOriginalNames) {
  WriteHosts("registry.test",
             "server = \"http://127.0.0.1:1\"\n[host.\"http://127.0.0.1:2\"]\n[host.\"http://" +
                 registry_->host() + "\"]\n");
  const auto pulled = Pull("registry.test/berth-test/index:1");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  const auto image = service_->Resolve("registry.test/berth-test/index:1");
  ASSERT_TRUE(image.ok());
  EXPECT_THAT((*image)->repo_tags, ElementsAre("registry.test/berth-test/index:1"));
  EXPECT_THAT((*image)->repo_digests[0], HasSubstr("registry.test/berth-test/index@sha256:"));
}

TEST_F(PullTest, ATamperedLayerIsRefusedAndLeavesNothing) {
  const std::string storage = *base_ + "/tampered";
  std::filesystem::copy(*base_ + "/registry", storage, std::filesystem::copy_options::recursive);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(storage)) {
    if (!entry.is_regular_file() || entry.path().filename() != "data" ||
        entry.file_size() < 100'000)
      continue;
    const UniqueFd fd(open(entry.path().c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(pwrite(fd.get(), "tampered", 8, entry.file_size() / 2), 8);
  }
  const Registry registry(storage, {});
  const absl::Status status = Pull(registry.host() + "/berth-test/busybox:1").status();
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(absl::IsDataLoss(status) || absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(service_->List(""), IsEmpty());
  EXPECT_THAT(store_->layers().List(), IsEmpty());
  EXPECT_TRUE(Pull(Ref("busybox:1")).ok());
}

}  // namespace
}  // namespace berth

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  // A test starts in its runfiles.
  berth::push_images = std::filesystem::absolute("tests/images/push-images");
  berth::serve_registry = std::filesystem::absolute("tests/images/serve-registry");
  berth::unpacker = std::filesystem::absolute("snapshotter/unpack/berth-unpack");
  return RUN_ALL_TESTS();
}
