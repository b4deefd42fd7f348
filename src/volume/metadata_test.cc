#include "volume/metadata.h"

#include <set>

#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

// Whoever keeps an extent beside the version that it was found under takes it for current as long
// as that is the inode's.
TEST(Metadata, GivesEachChangeOfExtentsANumberOfItsOwnWhateverItsKindAndInode) {
  Metadata metadata;
  Inode* const first = metadata.add_inode(10, FileType::regular);
  Inode* const second = metadata.add_inode(11, FileType::regular);
  std::vector<BlockRun> freed;
  std::set<std::uint64_t> seen{0};
  const auto expect_new = [&](const Inode& inode) {
    EXPECT_TRUE(seen.insert(inode.map_version.load()).second) << inode.map_version.load();
  };
  for (int round = 0; round < 3; ++round) {
    for (Inode* inode : {first, second}) {
      metadata.map(*inode, 0, Extent{100, 8, true}, &freed);
      expect_new(*inode);
      metadata.map(*inode, 2, Extent{102, 2, false}, &freed);
      expect_new(*inode);
      metadata.unmap(*inode, 4, 1, &freed);
      expect_new(*inode);
    }
  }
  ExtentMap extents;
  extents.append(0, Extent{500, 4, false});
  metadata.unmap(*first, 0, 8, &freed);
  expect_new(*first);
  metadata.set_extents(*first, std::move(extents));
  expect_new(*first);
}

}  // namespace
}  // namespace handback::testing
