// The overlay store with the real unpacker, the real kernel and hand-made tars. Needs root.
//
// BERTH_UNPACK names the program. Everything happens below a temporary directory, mounts in a mount
// namespace of the test's own.
#include "snapshotter/overlay_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/failpoint.h"
#include "base/files.h"
#include "base/sqlite.h"
#include "snapshotter/unpack/sha256.h"
#include "tests/snapshotter/tar_builder.h"

namespace berth {
namespace {

namespace fs = std::filesystem;

std::string Unpacker() {
  if (const char* path = getenv("BERTH_UNPACK")) return path;
  return fs::absolute("snapshotter/unpack/berth-unpack").string();
}

DiffId DiffIdOf(const std::string& tar) {
  Sha256 sha256;
  sha256.Add(tar);
  return DiffId("sha256:" + HexOf(sha256.Finish()));
}

std::string Gzip(const std::string& bytes) {
  z_stream stream = {};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = bytes.size();
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = out.size();
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string Zstd(const std::string& bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
  return out;
}

std::string Read(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  return text.ok() ? *text : std::string(text.status().message());
}

struct stat Stat(const std::string& path) {
  struct stat info = {};
  EXPECT_EQ(lstat(path.c_str(), &info), 0) << path;
  return info;
}

class OverlayStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(geteuid(), 0u) << "needs root";
    char path[] = "/tmp/berth-store-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    base_ = path;
    Open();
  }
  void TearDown() override {
    lease_.reset();
    store_.reset();
    database_.reset();
    fs::remove_all(base_);
  }

  void Open(bool adopt = false) {
    lease_.reset();
    store_.reset();
    database_.reset();
    auto database = Database::Open(base_ + "/state.db", {});
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    auto store = OpenOverlayStore(*database_, {base_ + "/root", Unpacker(), nullptr, adopt});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  absl::StatusOr<LayerInfo> Ingest(const std::string& bytes, LayerLease& lease,
                                   const IngestRequest& request = {}) {
    auto ingest = store_->layers().BeginIngest(request);
    if (!ingest.ok()) return ingest.status();
    const absl::Status status = (*ingest)->Write(bytes);
    if (!status.ok()) return status;
    return (*ingest)->Commit(lease);
  }
  // Unpacks one tar and gives the path of its tree.
  std::string Tree(const TarBuilder& tar) {
    lease_ = store_->layers().NewLease();
    const auto info = Ingest(tar.Build(), *lease_);
    EXPECT_TRUE(info.ok()) << info.status();
    if (!info.ok()) return "";
    const absl::Status verified = store_->layers().Verify(info->generation, false);
    EXPECT_TRUE(verified.ok()) << verified;
    return TreeOf(*info);
  }
  std::string TreeOf(const LayerInfo& info) {
    return absl::StrCat(base_, "/root/layers/", info.generation.str(), "/fs");
  }
  std::string Refusal(const std::string& bytes, const IngestRequest& request = {}) {
    const auto lease = store_->layers().NewLease();
    const auto info = Ingest(bytes, *lease, request);
    EXPECT_FALSE(info.ok());
    EXPECT_TRUE(fs::is_empty(base_ + "/root/layers")) << "something stayed";
    EXPECT_TRUE(fs::is_empty(base_ + "/root/trash")) << "something stayed";
    return info.ok() ? "" : info.status().ToString();
  }
  // Takes tars in as an image and mounts them; the merged tree's path.
  std::string Mount(const std::vector<std::string>& tars, bool view = false) {
    EXPECT_EQ(unshare(CLONE_NEWNS), 0);
    mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    lease_ = store_->layers().NewLease();
    std::vector<DiffId> layers;
    for (const std::string& tar : tars) {
      const auto info = Ingest(tar, *lease_);
      EXPECT_TRUE(info.ok()) << info.status();
      if (info.ok()) layers.push_back(info->diff_id);
    }
    const auto complete = store_->layers().CompleteLayers(layers, *lease_);
    EXPECT_TRUE(complete.ok()) << complete.status();
    if (!complete.ok()) return "";
    complete_ = *complete;
    const auto made = view ? store_->snapshots().View(SnapshotId("s"), complete_)
                           : store_->snapshots().Prepare(SnapshotId("s"), complete_);
    EXPECT_TRUE(made.ok()) << made.status();
    if (!made.ok()) return "";
    std::string options = "lowerdir=" + absl::StrJoin(made->lowers, ":");
    if (!made->upper.empty()) {
      absl::StrAppend(&options, ",upperdir=", made->upper, ",workdir=", made->work);
    }
    mkdir((base_ + "/merged").c_str(), 0755);
    EXPECT_EQ(mount("overlay", (base_ + "/merged").c_str(), "overlay", 0, options.c_str()), 0)
        << strerror(errno) << " " << options;
    return base_ + "/merged";
  }
  void Unmount() { umount2((base_ + "/merged").c_str(), MNT_DETACH); }

  std::string base_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<OverlayStore> store_;
  std::unique_ptr<LayerLease> lease_;
  std::vector<DiffId> complete_;
};

TEST_F(OverlayStoreTest, WritesEveryKindOfEntryWithItsAttributes) {
  const std::string long_name(200, 'n');
  const std::string tree =
      Tree(TarBuilder()
               .Directory("dir/", {.mode = 01777, .uid = 5, .gid = 6, .mtime = 77})
               .File("dir/setuid", "content",
                     {.mode = 04755, .uid = 1000, .gid = 1001, .pax = {{"mtime", "12.000000345"}}})
               .File("deep/" + long_name + "/" + long_name, "long")
               .File("caps", "x",
                     {.pax = {{"SCHILY.xattr.user.note", "hello"},
                              {"SCHILY.xattr.trusted.overlay.redirect", "/etc"},
                              {"SCHILY.xattr.user.overlay.opaque", "y"},
                              {"SCHILY.xattr.security.capability",
                               std::string("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)}}})
               .Symlink("link", "/etc/passwd")
               .HardLink("hard", "dir/setuid")
               .Node("null", '3', 1, 3, {.mode = 0666})
               .Node("disk", '4', 8, 1)
               .Node("fifo", '6', 0, 0)
               .File("gr\xc3\xbc\xc3\x9f", "utf-8"));
  const struct stat dir = Stat(tree + "/dir");
  EXPECT_EQ(dir.st_mode, S_IFDIR | 01777);
  EXPECT_EQ(dir.st_uid, 5u);
  EXPECT_EQ(dir.st_gid, 6u);
  EXPECT_EQ(dir.st_mtim.tv_sec, 77);
  const struct stat file = Stat(tree + "/dir/setuid");
  EXPECT_EQ(file.st_mode, S_IFREG | 04755);
  EXPECT_EQ(file.st_uid, 1000u);
  EXPECT_EQ(file.st_mtim.tv_sec, 12);
  EXPECT_EQ(file.st_mtim.tv_nsec, 345);
  EXPECT_EQ(file.st_nlink, 2u);
  EXPECT_EQ(Stat(tree + "/hard").st_ino, file.st_ino);
  EXPECT_EQ(Read(tree + "/dir/setuid"), "content");
  EXPECT_EQ(Read(tree + "/deep/" + long_name + "/" + long_name), "long");
  EXPECT_EQ(fs::read_symlink(tree + "/link"), "/etc/passwd");
  EXPECT_EQ(Stat(tree + "/null").st_rdev, makedev(1, 3));
  EXPECT_EQ(Stat(tree + "/null").st_mode, S_IFCHR | 0666);
  EXPECT_EQ(Stat(tree + "/disk").st_mode & S_IFMT, static_cast<mode_t>(S_IFBLK));
  EXPECT_EQ(Stat(tree + "/fifo").st_mode & S_IFMT, static_cast<mode_t>(S_IFIFO));
  EXPECT_EQ(Read(tree + "/gr\xc3\xbc\xc3\x9f"), "utf-8");
  char value[64];
  EXPECT_EQ(getxattr((tree + "/caps").c_str(), "user.note", value, sizeof value), 5);
  EXPECT_EQ(getxattr((tree + "/caps").c_str(), "security.capability", value, sizeof value), 20);
  EXPECT_LT(getxattr((tree + "/caps").c_str(), "trusted.overlay.redirect", value, 64), 0);
  EXPECT_LT(getxattr((tree + "/caps").c_str(), "user.overlay.opaque", value, 64), 0);
}

TEST_F(OverlayStoreTest, EveryCompressionGivesTheSameLayer) {
  const std::string tar =
      TarBuilder().File("a", std::string(300000, 'a')).File("b", "b").Build() + "trailing bytes";
  const std::string half = tar.substr(0, 1000);
  const std::string rest = tar.substr(1000);
  const std::string skippable("\x50\x2a\x4d\x18\x03\0\0\0abc", 11);
  for (const std::string& bytes :
       {tar, Gzip(tar), Gzip(half) + Gzip(rest), Gzip(tar) + std::string(512, '\0'), Zstd(tar),
        Zstd(half) + skippable + Zstd(rest)}) {
    const auto lease = store_->layers().NewLease();
    const auto info = Ingest(bytes, *lease, {.expected = DiffIdOf(tar)});
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->tar_bytes, tar.size());
    EXPECT_EQ(Read(TreeOf(*info) + "/b"), "b");
  }
  EXPECT_EQ(*store_->layers().Collect(), 1) << "equal layers are stored once";
  EXPECT_TRUE(fs::is_empty(base_ + "/root/layers"));
}

TEST_F(OverlayStoreTest, AnEmptyLayerIsALayer) {
  for (const std::string& bytes : {std::string(), std::string(1024, '\0'), Gzip("")}) {
    const auto lease = store_->layers().NewLease();
    EXPECT_TRUE(Ingest(bytes, *lease).ok());
  }
}

// As it is on every node whose init is systemd.
TEST_F(OverlayStoreTest, UnpacksBelowASharedMount) {
  ASSERT_EQ(unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(mount(base_.c_str(), base_.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(mount(nullptr, base_.c_str(), nullptr, MS_SHARED, nullptr), 0);
  Open();
  EXPECT_EQ(Read(Tree(TarBuilder().File("file", "text")) + "/file"), "text");
  umount2(base_.c_str(), MNT_DETACH);
}

TEST_F(OverlayStoreTest, BrokenStreamsAreRefused) {
  const std::string tar = TarBuilder().File("file", std::string(100000, 'x')).Build();
  const std::string gzip = Gzip(tar);
  const std::string zstd = Zstd(tar);
  EXPECT_TRUE(absl::StrContains(Refusal(tar.substr(0, 5000)), "tar: "));
  EXPECT_TRUE(absl::StrContains(Refusal(gzip.substr(0, gzip.size() / 2)), "ends inside a member"));
  EXPECT_TRUE(absl::StrContains(Refusal(gzip.substr(0, gzip.size() - 4)), "gzip: "));
  EXPECT_TRUE(absl::StrContains(Refusal(gzip + "garbage"), "gzip: bytes after"));
  EXPECT_TRUE(absl::StrContains(Refusal(zstd.substr(0, zstd.size() - 3)), "zstd: "));
  std::string flipped = gzip;
  flipped[flipped.size() - 6] ^= 1;
  EXPECT_TRUE(absl::StrContains(Refusal(flipped), "gzip: bad data"));
  EXPECT_TRUE(absl::StrContains(
      Refusal("this is no tar at all, whatever it is" + std::string(2000, 'z')), "tar: "));
  EXPECT_TRUE(absl::StrContains(Refusal(tar, {.expected = DiffId("sha256:00")}), "diff ID is"));
}

TEST_F(OverlayStoreTest, HostileEntriesAreRefusedByName) {
  const auto refusal = [this](const TarBuilder& tar) { return Refusal(tar.Build()); };
  EXPECT_TRUE(absl::StrContains(refusal(TarBuilder().File("../../evil", "")),
                                "entry ../../evil: the name contains \"..\""));
  EXPECT_TRUE(absl::StrContains(refusal(TarBuilder().File("a/../../evil", "")), "\"..\""));
  EXPECT_TRUE(absl::StrContains(refusal(TarBuilder().HardLink("h", "/etc/passwd")),
                                "entry h: a hard link to /etc/passwd, which this layer doesn't"));
  EXPECT_TRUE(absl::StrContains(refusal(TarBuilder().HardLink("h", "../etc/passwd")), "\"..\""));
  EXPECT_TRUE(absl::StrContains(refusal(TarBuilder().Directory("d").HardLink("h", "d")),
                                "a hard link to the directory d"));
  EXPECT_TRUE(
      absl::StrContains(refusal(TarBuilder().Symlink("s", "/etc").HardLink("h", "s/passwd")),
                        "entry h: a hard link"));
  EXPECT_TRUE(absl::StrContains(refusal(TarBuilder().File("f", "").File("f/x", "")),
                                "entry f/x: its parent f is no directory"));
  EXPECT_TRUE(
      absl::StrContains(refusal(TarBuilder().Symlink("a", "b").Symlink("b", "a").File("a/x", "")),
                        "entry a/x: too many links"));
  EXPECT_TRUE(absl::StrContains(refusal(TarBuilder().File(".wh.", "")), "a whiteout of nothing"));
  EXPECT_TRUE(absl::StrContains(refusal(TarBuilder().File(".wh...", "")), "a whiteout of nothing"));
  EXPECT_TRUE(
      absl::StrContains(refusal(TarBuilder().File(std::string(300, 'n'), "")), "longer than 255"));
  EXPECT_TRUE(
      absl::StrContains(refusal(TarBuilder().File(".", "")), "entry .: the root is no directory"));
}

TEST_F(OverlayStoreTest, LinksAmongParentsResolveInsideTheRoot) {
  const std::string tree = Tree(TarBuilder()
                                    .Symlink("abs", "/inside")
                                    .File("abs/x", "1")
                                    .Symlink("up", "../../../../../tmp/berth-escape")
                                    .File("up/y", "2")
                                    .File("/absolute/z", "3"));
  EXPECT_EQ(Read(tree + "/inside/x"), "1");
  EXPECT_EQ(Read(tree + "/tmp/berth-escape/y"), "2");
  EXPECT_EQ(Read(tree + "/absolute/z"), "3");
  EXPECT_FALSE(fs::exists("/tmp/berth-escape"));
  EXPECT_FALSE(fs::exists("/inside"));
  EXPECT_FALSE(fs::exists("/absolute"));
}

TEST_F(OverlayStoreTest, BoundsAreKept) {
  IngestRequest request;
  request.limits.entries = 2;
  const TarBuilder three = TarBuilder().File("1", "").File("2", "").File("3", "");
  EXPECT_TRUE(absl::StrContains(Refusal(three.Build(), request), "RESOURCE_EXHAUSTED: entry 3"));
  request = {};
  request.limits.tar_bytes = 100000;
  EXPECT_TRUE(absl::StrContains(
      Refusal(TarBuilder().File("big", std::string(200000, 'x')).Build(), request),
      "RESOURCE_EXHAUSTED"));
  request = {};
  request.limits.ratio = 100;
  const std::string zeros = TarBuilder().File("bomb", std::string(100 << 20, '\0')).Build();
  EXPECT_TRUE(absl::StrContains(Refusal(Gzip(zeros), request), "inflates more than 100 times"));
  std::string deep;
  for (int i = 0; i < 2100; ++i) deep += "d/";
  EXPECT_TRUE(absl::StrContains(Refusal(TarBuilder().File(deep + "x", "").Build()),
                                "longer than 4095 bytes"));
}

TEST_F(OverlayStoreTest, EntriesReplaceEachOtherWithinALayer) {
  const std::string tree = Tree(TarBuilder()
                                    .Directory("a")
                                    .File("a/old", "")
                                    .File("a", "now a file")
                                    .File("b", "file")
                                    .Directory("b", {.mode = 0700})
                                    .File("c", "first")
                                    .File("c", "second")
                                    .File("d", "same")
                                    .HardLink("d", "d")
                                    .Symlink("e", "x")
                                    .File("e", "no link"));
  EXPECT_EQ(Read(tree + "/a"), "now a file");
  EXPECT_EQ(Stat(tree + "/b").st_mode, S_IFDIR | 0700);
  EXPECT_EQ(Read(tree + "/c"), "second");
  EXPECT_EQ(Read(tree + "/d"), "same");
  EXPECT_EQ(Read(tree + "/e"), "no link");
  EXPECT_FALSE(fs::exists(tree + "/x"));
}

TEST_F(OverlayStoreTest, TheMergedTreeFollowsTheWhiteouts) {
  const std::string merged = Mount({
      TarBuilder()
          .Directory("gone")
          .File("gone/x", "")
          .File("file", "")
          .Directory("opaque")
          .File("opaque/old", "")
          .Directory("both", {.mode = 0700})
          .File("both/old", "")
          .Directory("late")
          .File("late/old", "")
          .Directory("swap")
          .File("swap/old", "")
          .File("keep", "lower")
          .Build(),
      TarBuilder()
          .File(".wh.gone", "")
          .File(".wh.file", "")
          .Directory("opaque")
          .File("opaque/new", "")
          .File("opaque/.wh..wh..opq", "")
          .File(".wh.both", "")
          .File("both/new", "")
          .Directory("late")
          .File("late/new", "")
          .File(".wh.late", "")
          .File("swap", "")
          .Directory("swap")
          .File("swap/new", "")
          .File(".wh.keep", "")
          .File("keep", "upper")
          .File(".wh..wh.plnk", "")
          .Build(),
  });
  EXPECT_FALSE(fs::exists(merged + "/gone"));
  EXPECT_FALSE(fs::exists(merged + "/file"));
  for (const char* directory : {"opaque", "both", "late", "swap"}) {
    EXPECT_TRUE(fs::exists(merged + "/" + directory + "/new")) << directory;
    EXPECT_FALSE(fs::exists(merged + "/" + directory + "/old")) << directory;
  }
  EXPECT_EQ(Stat(merged + "/both").st_mode, S_IFDIR | 0755) << "removed and made anew";
  EXPECT_EQ(Read(merged + "/keep"), "upper");
  EXPECT_EQ(Stat(merged).st_mode, S_IFDIR | 0755);
  Unmount();
}

TEST_F(OverlayStoreTest, AnOpaqueRootHidesAllLayersBelow) {
  const std::string merged = Mount({TarBuilder().File("old", "").Build(),
                                    TarBuilder().File("new", "").File(".wh..wh..opq", "").Build()});
  EXPECT_TRUE(fs::exists(merged + "/new"));
  EXPECT_FALSE(fs::exists(merged + "/old"));
  Unmount();
}

TEST_F(OverlayStoreTest, ImpliedDirectoriesTakeTheirAttributesFromBelow) {
  const std::string merged = Mount({
      TarBuilder()
          .Directory("a", {.mode = 01777, .uid = 7, .gid = 8, .mtime = 99})
          .Directory("a/b", {.mode = 0750, .uid = 9})
          .Build(),
      TarBuilder().File("a/b/c/file", "").Build(),
  });
  EXPECT_EQ(complete_.size(), 3u);
  EXPECT_EQ(Stat(merged + "/a").st_mode, S_IFDIR | 01777);
  EXPECT_EQ(Stat(merged + "/a").st_uid, 7u);
  EXPECT_EQ(Stat(merged + "/a").st_mtim.tv_sec, 99);
  EXPECT_EQ(Stat(merged + "/a/b").st_mode, S_IFDIR | 0750);
  EXPECT_EQ(Stat(merged + "/a/b").st_uid, 9u);
  EXPECT_EQ(Stat(merged + "/a/b/c").st_mode, S_IFDIR | 0755);
  EXPECT_TRUE(fs::exists(merged + "/a/b/c/file"));
  Unmount();
}

TEST_F(OverlayStoreTest, ALayerThatOccursTwiceIsMountedOnce) {
  const std::string a = TarBuilder().File("f", "a").Build();
  const std::string b = TarBuilder().File("f", "b").Build();
  const std::string merged = Mount({a, b, a});
  EXPECT_EQ(complete_.size(), 2u);
  EXPECT_EQ(Read(merged + "/f"), "a");
  Unmount();
}

TEST_F(OverlayStoreTest, AFileBelowALowerLinkShadowsIt) {
  const std::string merged = Mount(
      {TarBuilder().Symlink("lib", "usr/lib").Build(), TarBuilder().File("lib/x", "x").Build()});
  EXPECT_EQ(Stat(merged + "/lib").st_mode & S_IFMT, static_cast<mode_t>(S_IFDIR));
  EXPECT_EQ(Read(merged + "/lib/x"), "x");
  Unmount();
}

TEST_F(OverlayStoreTest, ViewsAndImagesWithoutLayersMountToo) {
  EXPECT_EQ(Stat(Mount({}, /*view=*/true)).st_mode, S_IFDIR | 0755);
  Unmount();
  ASSERT_TRUE(store_->snapshots().Remove(SnapshotId("s")).ok());
  EXPECT_EQ(Stat(Mount({})).st_mode, S_IFDIR | 0755);
  Unmount();
  ASSERT_TRUE(store_->snapshots().Remove(SnapshotId("s")).ok());
  EXPECT_TRUE(fs::exists(Mount({TarBuilder().File("x", "").Build()}, true) + "/x"));
  Unmount();
}

TEST_F(OverlayStoreTest, LayersLiveAsLongAsAnythingNeedsThem) {
  auto lease = store_->layers().NewLease();
  const auto info = Ingest(TarBuilder().File("x", "").Build(), *lease);
  ASSERT_TRUE(info.ok());
  const SnapshotId id("snap");
  EXPECT_EQ(*store_->layers().Collect(), 0);
  ASSERT_TRUE(store_->layers().Reference("image", {info->diff_id}).ok());
  lease.reset();
  EXPECT_EQ(*store_->layers().Collect(), 0);
  ASSERT_TRUE(store_->snapshots().Prepare(id, {info->diff_id}).ok());
  ASSERT_TRUE(store_->layers().Unreference("image").ok());
  EXPECT_EQ(*store_->layers().Collect(), 0);
  Open();
  EXPECT_EQ(*store_->layers().Collect(), 0) << "a snapshot keeps them across a restart";
  EXPECT_TRUE(store_->snapshots().Mounts(id).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(store_->snapshots().Prepare(id, {}).status()));
  ASSERT_TRUE(store_->snapshots().Remove(id).ok());
  ASSERT_TRUE(store_->snapshots().Remove(id).ok());
  EXPECT_EQ(*store_->layers().Collect(), 1);
  EXPECT_TRUE(fs::is_empty(base_ + "/root/layers"));
  EXPECT_TRUE(fs::is_empty(base_ + "/root/snapshots"));
  EXPECT_TRUE(fs::is_empty(base_ + "/root/trash"));
}

TEST_F(OverlayStoreTest, CancelEndsAnIngestAndLeavesNothing) {
  const auto lease = store_->layers().NewLease();
  auto ingest = store_->layers().BeginIngest({});
  ASSERT_TRUE(ingest.ok()) << ingest.status();
  ASSERT_TRUE((*ingest)->Write(TarBuilder().File("x", "").BuildWithoutEnd()).ok());
  (*ingest)->Cancel();
  EXPECT_TRUE(absl::IsCancelled((*ingest)->Commit(*lease).status()));
  ingest->reset();
  EXPECT_TRUE(fs::is_empty(base_ + "/root/layers"));
}

TEST_F(OverlayStoreTest, DamageIsFoundAndARepairIsANewGeneration) {
  const std::string tar = TarBuilder().Directory("d").File("d/f", "content").Build();
  auto lease = store_->layers().NewLease();
  const auto info = Ingest(tar, *lease);
  ASSERT_TRUE(info.ok());
  ASSERT_TRUE(store_->layers().Verify(info->generation, true).ok());
  const struct stat before = Stat(TreeOf(*info) + "/d/f");
  ASSERT_TRUE(WriteKernelFile(TreeOf(*info) + "/d/f", "CONTENT").ok());
  const timespec times[2] = {before.st_mtim, before.st_mtim};
  utimensat(AT_FDCWD, (TreeOf(*info) + "/d/f").c_str(), times, 0);
  const absl::Status found = store_->layers().Verify(info->generation, true);
  EXPECT_TRUE(absl::IsDataLoss(found)) << found;
  EXPECT_TRUE(absl::StrContains(found.message(), "d/f: another content")) << found;
  EXPECT_TRUE(absl::IsNotFound(store_->layers().Acquire(info->diff_id, *lease).status()));
  const auto again = Ingest(tar, *lease);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_NE(again->generation.str(), info->generation.str());
}

TEST_F(OverlayStoreTest, ALostDatabaseIsRebuiltFromWhatIsThere) {
  auto lease = store_->layers().NewLease();
  const auto info = Ingest(TarBuilder().File("x", "").Build(), *lease);
  ASSERT_TRUE(info.ok());
  lease.reset();
  const auto before = store_->snapshots().Prepare(SnapshotId("s"), {info->diff_id});
  ASSERT_TRUE(before.ok());
  store_.reset();
  database_.reset();
  fs::remove(base_ + "/state.db");
  Open(/*adopt=*/true);
  EXPECT_EQ(store_->sweep().adopted_layers, 1);
  EXPECT_EQ(store_->sweep().adopted_snapshots, 1);
  const auto after = store_->snapshots().Mounts(SnapshotId("s"));
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->lowers, before->lowers);
  EXPECT_EQ(*store_->layers().Collect(), 0);
}

// A child process dies at each failpoint; what a new store finds must be whole or nothing.
TEST_F(OverlayStoreTest, ACrashAtAnyStepLeavesNothingAfterTheSweep) {
  const std::string tar = TarBuilder().File("x", "x").Build();
  for (const char* point :
       {"snapshotter.ingest.directory", "snapshotter.ingest.unpacked", "snapshotter.ingest.sidecar",
        "snapshotter.ingest.committed", "snapshotter.reference", "snapshotter.prepare.directory",
        "snapshotter.prepare.committed", "snapshotter.remove.record",
        "snapshotter.remove.committed", "snapshotter.trash.empty", "snapshotter.collect.records",
        "snapshotter.collect.files"}) {
    store_.reset();
    database_.reset();
    const pid_t child = fork();
    if (child == 0) {
      Open();
      if (!ArmFailpoints(absl::StrCat(point, "=crash")).ok()) _exit(3);
      auto lease = store_->layers().NewLease();
      const auto info = Ingest(tar, *lease);
      if (!info.ok()) _exit(4);
      if (!store_->layers().Reference("image", {info->diff_id}).ok()) _exit(5);
      if (!store_->snapshots().Prepare(SnapshotId("s"), {info->diff_id}).ok()) _exit(6);
      if (!store_->snapshots().Remove(SnapshotId("s")).ok()) _exit(7);
      if (!store_->layers().Unreference("image").ok()) _exit(8);
      lease.reset();
      if (!store_->layers().Collect().ok()) _exit(9);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << point << " was not passed, status " << status;
    Open();
    for (const LayerInfo& layer : store_->layers().List()) {
      EXPECT_TRUE(store_->layers().Verify(layer.generation, false).ok()) << point;
    }
    for (const SnapshotInfo& snapshot : store_->snapshots().Walk()) {
      EXPECT_TRUE(store_->snapshots().Remove(snapshot.id).ok()) << point;
    }
    EXPECT_TRUE(store_->layers().RetainReferences({}).ok());
    EXPECT_TRUE(store_->layers().Collect().ok()) << point;
    EXPECT_TRUE(store_->layers().List().empty()) << point;
    for (const char* directory : {"/root/layers", "/root/snapshots", "/root/trash"}) {
      EXPECT_TRUE(fs::is_empty(base_ + directory)) << point << " left something in " << directory;
    }
  }
}

TEST_F(OverlayStoreTest, UsageCountsTheWritableDirectory) {
  ASSERT_TRUE(store_->snapshots().Prepare(SnapshotId("s"), {}).ok());
  const std::string upper = store_->snapshots().Mounts(SnapshotId("s"))->upper;
  ASSERT_TRUE(WriteFileAtomically(upper + "/f", std::string(100000, 'x'), 0644).ok());
  ASSERT_EQ(link((upper + "/f").c_str(), (upper + "/g").c_str()), 0);
  const auto usage = store_->snapshots().Usage(SnapshotId("s"), Cancellation());
  ASSERT_TRUE(usage.ok());
  EXPECT_EQ(usage->inodes, 2u);
  EXPECT_GE(usage->bytes, 100000u);
  EXPECT_LT(usage->bytes, 120000u);
}

}  // namespace
}  // namespace berth
