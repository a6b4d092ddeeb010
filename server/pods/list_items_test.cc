#include "server/pods/list_items.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/cri/api.h"

namespace berth {
namespace {

using ::testing::ElementsAre;

using Record = cri::ContainerMetadata;  // any message will do
using RecordPtr = std::shared_ptr<const Record>;

int serialized = 0;

std::string Item(const Record& record) {
  ++serialized;
  cri::Container item;
  item.set_id(record.name());
  return item.SerializeAsString();
}

RecordPtr Named(const std::string& name) {
  auto record = std::make_shared<Record>();
  record->set_name(name);
  return record;
}

class ListItemsTest : public ::testing::Test {
 protected:
  ListItemsTest() { serialized = 0; }

  // The names in the answer as a client reads it.
  std::vector<std::string> List(const std::vector<RecordPtr>& records,
                                const std::string& unwanted = "") {
    cri::ListContainersResponse response, read;
    items_.AddTo(&response, cri::ListContainersResponse::kContainersFieldNumber, records,
                 [&](const Record& record) { return record.name() != unwanted; });
    EXPECT_TRUE(read.ParseFromString(response.SerializeAsString()));
    std::vector<std::string> names;
    for (const cri::Container& item : read.containers()) names.push_back(item.id());
    return names;
  }

  ListItems<Record> items_{&Item};
};

TEST_F(ListItemsTest, AClientReadsThemInTheirOrder) {
  const std::vector<RecordPtr> records = {Named("b"), Named("a")};
  EXPECT_THAT(List(records), ElementsAre("b", "a"));
  EXPECT_THAT(List(records, "b"), ElementsAre("a"));
}

TEST_F(ListItemsTest, OnlyWhatIsNewIsSerialized) {
  std::vector<RecordPtr> records = {Named("a"), Named("b")};
  List(records);
  EXPECT_THAT(List(records), ElementsAre("a", "b"));
  EXPECT_EQ(serialized, 2);
  records[0] = Named("c");  // a change makes a new record
  EXPECT_THAT(List(records), ElementsAre("c", "b"));
  EXPECT_EQ(serialized, 3);
}

TEST_F(ListItemsTest, WhatIsUnwantedStaysKnown) {
  const std::vector<RecordPtr> records = {Named("a"), Named("b")};
  List(records);
  List(records, "a");
  List(records);
  EXPECT_EQ(serialized, 2);
}

TEST_F(ListItemsTest, WhatIsGoneIsForgotten) {
  std::vector<RecordPtr> records = {Named("a"), Named("b")};
  List(records);
  const std::weak_ptr<const Record> gone = records[0];
  records.erase(records.begin());
  EXPECT_THAT(List(records), ElementsAre("b"));
  EXPECT_TRUE(gone.expired());
}

}  // namespace
}  // namespace berth
