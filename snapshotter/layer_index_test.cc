#include "snapshotter/layer_index.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

LayerRecord Record(const char* generation, const char* diff_id, int second) {
  LayerRecord record;
  record.info.generation = LayerGeneration(generation);
  record.info.diff_id = DiffId(diff_id);
  record.info.created = absl::FromUnixSeconds(second);
  return record;
}

TEST(LayerIndex, UnneededLayersAreCondemned) {
  LayerIndex index;
  index.Add(Record("g1", "a", 1), false);
  EXPECT_EQ(index.Condemn(), std::vector{LayerGeneration("g1")});
  EXPECT_FALSE(index.Pin({DiffId("a")}).ok()) << "a condemned layer can't be pinned";
  index.Spare({LayerGeneration("g1")});
  EXPECT_TRUE(index.Pin({DiffId("a")}).ok());
}

TEST(LayerIndex, PinsAndReferencesKeepLayers) {
  LayerIndex index;
  index.Add(Record("g1", "a", 1), true);
  index.Add(Record("g2", "b", 1), false);
  ASSERT_TRUE(index.Reference("image", {DiffId("b")}).ok());
  EXPECT_TRUE(index.Condemn().empty());
  index.Unpin({LayerGeneration("g1")});
  EXPECT_EQ(index.Condemn(), std::vector{LayerGeneration("g1")});
  ASSERT_TRUE(index.Reference("image", {}).ok());
  EXPECT_EQ(index.Condemn(), std::vector{LayerGeneration("g2")});
}

TEST(LayerIndex, AReferenceKeepsTheNewestGenerationOnly) {
  LayerIndex index;
  index.Add(Record("g1", "a", 1), false);
  index.Add(Record("g2", "a", 2), false);
  ASSERT_TRUE(index.Reference("image", {DiffId("a")}).ok());
  EXPECT_EQ(index.Condemn(), std::vector{LayerGeneration("g1")});
}

TEST(LayerIndex, ARetiredGenerationIsNotFoundButStaysPinned) {
  LayerIndex index;
  index.Add(Record("g1", "a", 1), true);
  index.Retire(LayerGeneration("g1"));
  EXPECT_TRUE(absl::IsNotFound(index.Pin({DiffId("a")}).status()));
  EXPECT_TRUE(index.Condemn().empty());
}

TEST(LayerIndex, AMissingLayerPinsNothing) {
  LayerIndex index;
  index.Add(Record("g1", "a", 1), false);
  EXPECT_TRUE(absl::IsNotFound(index.Pin({DiffId("a"), DiffId("b")}).status()));
  EXPECT_EQ(index.Condemn().size(), 1u);
}

TEST(TopmostOnly, KeepsTheTopmostOfRepeatedLayers) {
  EXPECT_EQ(TopmostOnly({DiffId("a"), DiffId("b"), DiffId("a"), DiffId("c")}),
            (std::vector{DiffId("b"), DiffId("a"), DiffId("c")}));
}

}  // namespace
}  // namespace berth
