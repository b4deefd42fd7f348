// Goal: a snapshot taken in slices is what the metadata was when it was begun, whatever changes
// meanwhile. Method: random changes between slices of random length, held against the bytes that
// encoding all of it at once gave at the beginning. HB_SEED replays one seed.
#include "volume/snapshot_writer.h"

#include <gtest/gtest.h>

#include <random>

#include "base/base_test_support.h"
#include "volume/format.h"
#include "volume/snapshot.h"

namespace handback {
namespace {

class Changes {
 public:
  Changes(Metadata& metadata, std::uint64_t seed) : metadata_(metadata), random_(seed) {}

  std::uint64_t pick(std::uint64_t below) { return random_() % below; }

  void make() {
    Change change;
    change.mtime_ns = static_cast<std::int64_t>(random_() % 1000);
    const std::string name = any_name();
    const std::string name_to = any_name();
    change.name = name;
    change.parent = any_inode(FileType::directory);
    change.ino = any_inode(FileType::regular);
    switch (pick(14)) {
      case 0:
      case 1:
        change.kind = ChangeKind::create;
        change.ino = metadata_.next_ino();
        change.type = pick(4) == 0 ? FileType::directory : FileType::regular;
        break;
      case 2:
        change.kind = ChangeKind::remove_name;
        break;
      case 3:
        change.kind = ChangeKind::rename;
        change.parent_to = any_inode(FileType::directory);
        change.name_to = name_to;
        break;
      case 4:
        change.kind = ChangeKind::link;
        break;
      case 5:
        change.kind = ChangeKind::set_size;
        change.size_bytes = pick(64) * fs_block;
        break;
      case 6:
        change.kind = ChangeKind::set_mtime;
        break;
      case 7:
      case 8:
        change.kind = ChangeKind::unmap;
        change.offset = pick(64);
        change.block_count = 1 + pick(8);
        break;
      default:
        change.kind = ChangeKind::map;
        change.offset = pick(64);
        change.count = static_cast<std::uint32_t>(1 + pick(4));
        // Often what continues a neighbour, so that extents merge.
        change.addr = pick(3) == 0 ? 1000 + pick(1000) : 100 + change.offset;
        change.unwritten = pick(4) == 0;
    }
    std::vector<BlockRun> freed;
    // What cannot be changes nothing.
    static_cast<void>(metadata_.apply(change, &freed));
  }

 private:
  std::string any_name() { return "n" + std::to_string(pick(12)); }
  std::uint64_t any_inode(FileType type) {
    std::vector<std::uint64_t> all;
    for (const auto& [ino, inode] : metadata_.inodes()) {
      if (inode->type == type) all.push_back(ino);
    }
    return all.empty() ? 0 : all[pick(all.size())];
  }

  Metadata& metadata_;
  std::mt19937_64 random_;
};

TEST(SnapshotWriter, GivesWhatEncodingAllAtOnceGives) {
  Metadata metadata;
  Changes changes(metadata, 5);
  for (int i = 0; i < 400; ++i)
    changes.make();
  const std::vector<std::byte> expected = snapshot_encode(metadata);
  for (const std::size_t slice : {1U, 50U, 4032U, 1U << 20}) {
    SnapshotWriter writer(metadata);
    EXPECT_EQ(writer.bytes(), expected.size());
    std::vector<std::byte> bytes;
    while (writer.next(slice, bytes)) {
    }
    EXPECT_EQ(bytes, expected) << slice;
  }
}

TEST(SnapshotWriter, IsOfTheMomentWhenItWasBegunWhateverChangesMeanwhile) {
  const auto [first, count] = testing::seeds_from_environment(400);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(::testing::Message() << "replay with HB_SEED=" << seed);
    Metadata metadata;
    Changes changes(metadata, seed);
    const std::uint64_t before = 20 + changes.pick(200);
    for (std::uint64_t i = 0; i < before; ++i)
      changes.make();
    const std::vector<std::byte> expected = snapshot_encode(metadata);
    std::vector<std::byte> bytes;
    {
      SnapshotWriter writer(metadata);
      ASSERT_EQ(writer.bytes(), expected.size());
      const std::uint64_t changes_max = changes.pick(12);
      const std::uint64_t slice_max = 1 + changes.pick(300);
      do {
        for (std::uint64_t i = 0; i < changes_max; ++i)
          changes.make();
      } while (writer.next(1 + changes.pick(slice_max), bytes));
    }
    ASSERT_EQ(bytes, expected);
    // What it did not keep, nobody misses.
    Metadata again;
    ASSERT_EQ(snapshot_decode(bytes, &again), "");
    ASSERT_EQ(snapshot_encode(again), expected);
  }
}

TEST(SnapshotWriter, KeepsAFileThatIsRemovedBeforeItsTurn) {
  Metadata metadata;
  std::vector<BlockRun> freed;
  Change change;
  change.kind = ChangeKind::create;
  change.parent = 1;
  change.ino = 2;
  change.name = "f";
  ASSERT_EQ(metadata.apply(change, &freed), nullptr);
  change.kind = ChangeKind::map;
  change.addr = 100;
  change.count = 7;
  ASSERT_EQ(metadata.apply(change, &freed), nullptr);
  const std::vector<std::byte> expected = snapshot_encode(metadata);
  SnapshotWriter writer(metadata);
  change.kind = ChangeKind::remove_name;
  ASSERT_EQ(metadata.apply(change, &freed), nullptr);
  EXPECT_EQ(freed, (std::vector<BlockRun>{{100, 7}}));
  std::vector<std::byte> bytes;
  EXPECT_FALSE(writer.next(1 << 20, bytes));
  EXPECT_EQ(bytes, expected);
}

}  // namespace
}  // namespace handback
