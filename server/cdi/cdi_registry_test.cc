#include "server/cdi/cdi_registry.h"

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth {
namespace {

using testing::HasSubstr;

class CdiRegistryTest : public testing::Test {
 protected:
  CdiRegistryTest() {
    char name[] = "/tmp/cdi-XXXXXX";
    directory_ = mkdtemp(name);
    EXPECT_TRUE(MakeDirectories(directory_ + "/etc", 0755).ok());
    EXPECT_TRUE(MakeDirectories(directory_ + "/run", 0755).ok());
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(directory_).ok()); }

  // A file with one device whose edits set WHO=`who`.
  void Write(const std::string& path, const std::string& device, const std::string& who,
             const std::string& more = "") {
    EXPECT_TRUE(WriteFileAtomically(
                    absl::StrCat(directory_, "/", path),
                    absl::StrCat(R"({"cdiVersion":"0.6.0","kind":"v/c","containerEdits":{"env":)",
                                 R"(["FILE=)", path, R"("]},"devices":[{"name":")", device,
                                 R"(","containerEdits":{"env":["WHO=)", who, "\"]", more, "}}]}"),
                    0644)
                    .ok());
  }
  // The environment that the names ask for, by commas; or the error.
  std::string Ask(const std::vector<std::string>& names) {
    const auto edits = registry_->Resolve(names);
    if (!edits.ok()) return std::string(edits.status().message());
    std::string text;
    for (const CdiEdits& e : *edits) {
      for (const std::string& v : e.env) absl::StrAppend(&text, text.empty() ? "" : ",", v);
    }
    return text;
  }
  void Open() {
    registry_.emplace(std::vector<std::string>{directory_ + "/etc", directory_ + "/run",
                                               directory_ + "/missing"});
  }

  std::string directory_;
  std::optional<CdiRegistry> registry_;
};

TEST_F(CdiRegistryTest, AFilesOwnEditsComeOnce) {
  Write("etc/a.json", "0", "a");
  Open();
  EXPECT_EQ(Ask({"v/c=0", "v/c=0"}), "FILE=etc/a.json,WHO=a,WHO=a");
  EXPECT_EQ(Ask({}), "");
}

TEST_F(CdiRegistryTest, ALaterDirectoryHidesAnEarlierOne) {
  Write("etc/a.json", "0", "etc");
  Write("run/b.json", "0", "run");
  Open();
  EXPECT_EQ(Ask({"v/c=0"}), "FILE=run/b.json,WHO=run");
}

TEST_F(CdiRegistryTest, TwoFilesOfOneDirectoryMakeADeviceAmbiguous) {
  Write("etc/a.json", "0", "a");
  Write("etc/b.json", "0", "b");
  Open();
  EXPECT_THAT(Ask({"v/c=0"}), HasSubstr("is in both"));
}

TEST_F(CdiRegistryTest, ChangesAreSeen) {
  Open();
  EXPECT_EQ(Ask({"v/c=0"}), "CDI device v/c=0 is unknown");
  Write("etc/a.json", "0", "first");
  EXPECT_EQ(Ask({"v/c=0"}), "FILE=etc/a.json,WHO=first");
  Write("etc/a.json", "0", "other");
  EXPECT_EQ(Ask({"v/c=0"}), "FILE=etc/a.json,WHO=other");
  EXPECT_EQ(unlink((directory_ + "/etc/a.json").c_str()), 0);
  EXPECT_EQ(Ask({"v/c=0"}), "CDI device v/c=0 is unknown");
}

TEST_F(CdiRegistryTest, ABadFileIsToldToWhoMissesADevice) {
  Write("etc/a.json", "0", "a");
  EXPECT_TRUE(WriteFileAtomically(directory_ + "/etc/bad.json", "{", 0644).ok());
  EXPECT_TRUE(WriteFileAtomically(directory_ + "/run/x.yaml", "kind: v/c", 0644).ok());
  EXPECT_TRUE(WriteFileAtomically(directory_ + "/run/notes.txt", "{", 0644).ok());
  Open();
  EXPECT_EQ(Ask({"v/c=0"}), "FILE=etc/a.json,WHO=a");
  const std::string error = Ask({"v/c=1"});
  EXPECT_THAT(error, HasSubstr("v/c=1 is unknown"));
  EXPECT_THAT(error, HasSubstr("bad.json"));
  EXPECT_THAT(error, HasSubstr("x.yaml: YAML is not supported"));
}

TEST_F(CdiRegistryTest, WhatThisRuntimeHasNotIsRefusedByName) {
  Write("etc/a.json", "0", "a", R"(,"intelRdt":{"closID":"x"})");
  Open();
  EXPECT_THAT(Ask({"v/c=0"}), HasSubstr("devices[0].containerEdits.intelRdt is not supported"));
}

}  // namespace
}  // namespace berth
