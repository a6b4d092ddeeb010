#include "server/pods/user_namespace.h"

#include <string>

#include "gtest/gtest.h"

namespace berth {
namespace {

namespace cri = ::runtime::v1;

void Add(google::protobuf::RepeatedPtrField<cri::IDMapping>* list, uint32_t container,
         uint32_t host, uint32_t length) {
  cri::IDMapping* m = list->Add();
  m->set_container_id(container);
  m->set_host_id(host);
  m->set_length(length);
}

class UserNamespaceTest : public testing::Test {
 protected:
  cri::UserNamespace& options() { return *namespaces_.mutable_userns_options(); }
  void Usual() {
    options().set_mode(cri::POD);
    Add(options().mutable_uids(), 0, 65536, 65536);
    Add(options().mutable_gids(), 0, 131072, 65536);
  }
  std::string Error() const {
    const auto maps = PodIdMapsOf(namespaces_, "n");
    return maps.ok() ? "" : std::string(maps.status().message());
  }
  cri::NamespaceOption namespaces_;
};

TEST_F(UserNamespaceTest, UnsetAndNodeAreTheHosts) {
  EXPECT_TRUE(PodIdMapsOf(namespaces_, "n")->empty());
  options().set_mode(cri::NODE);
  EXPECT_TRUE(PodIdMapsOf(namespaces_, "n")->empty());
  Add(options().mutable_uids(), 0, 1, 1);
  EXPECT_EQ(Error(), "n.userns_options: mappings need mode POD");
}

TEST_F(UserNamespaceTest, AMappingIsRead) {
  Usual();
  const PodIdMaps maps = *PodIdMapsOf(namespaces_, "n");
  EXPECT_EQ(maps.root_uid(), 65536u);
  EXPECT_EQ(maps.root_gid(), 131072u);
  EXPECT_TRUE(IsMapped(maps.uids, 65535));
  EXPECT_FALSE(IsMapped(maps.uids, 65536));
  EXPECT_EQ(PodIdMaps().root_uid(), 0u);
}

TEST_F(UserNamespaceTest, OtherModesAreRefused) {
  Usual();
  options().set_mode(cri::CONTAINER);
  EXPECT_EQ(Error(), "n.userns_options.mode: a user namespace is POD or NODE");
}

TEST_F(UserNamespaceTest, MappingsMustBeThereAndMapRoot) {
  options().set_mode(cri::POD);
  EXPECT_EQ(Error(), "n.userns_options.uids: missing");
  Add(options().mutable_uids(), 0, 1, 1);
  EXPECT_EQ(Error(), "n.userns_options.gids: missing");
  Add(options().mutable_gids(), 1, 1, 1);
  EXPECT_EQ(Error(), "n.userns_options.gids: do not map 0");
}

TEST_F(UserNamespaceTest, RangesAreChecked) {
  Usual();
  Add(options().mutable_uids(), 65535, 500000, 1);
  EXPECT_EQ(Error(), "n.userns_options.uids[1].container_id: overlaps another mapping");
  options().mutable_uids(1)->set_container_id(65536);
  EXPECT_EQ(Error(), "");
  options().mutable_uids(1)->set_host_id(131071);
  EXPECT_EQ(Error(), "n.userns_options.uids[1].host_id: overlaps another mapping");
  options().mutable_uids(1)->set_length(0);
  EXPECT_EQ(Error(), "n.userns_options.uids[1].length: is 0");
  options().mutable_uids(1)->set_length(0xffffffff);
  EXPECT_EQ(Error(), "n.userns_options.uids[1].length: leads out of the 32 bits of an id");
  options().clear_uids();
  for (uint32_t i = 0; i < 200; ++i) Add(options().mutable_uids(), i, 1000 + i, 1);
  EXPECT_EQ(Error(), "n.userns_options.uids: are too many");
}

}  // namespace
}  // namespace berth
