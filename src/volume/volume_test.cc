#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

TEST(Volume, KeepsWhatWasWrittenAcrossCloseAndOpen) {
  VolumeFixture fixture;
  const AlignedBuffer data = pattern(1 << 20, 1);
  {
    auto file = fixture.create("/a");
    EXPECT_EQ(fixture.write(*file, 0, data.span()), IoResult::success(1 << 20));
  }
  fixture.close();
  fixture.open();
  EXPECT_TRUE(fixture.volume->recovery().clean);
  auto file = fixture.reopen("/a");
  EXPECT_EQ(file->size(), 1U << 20);
  EXPECT_EQ(fixture.contents(*file, 0, 1 << 20), bytes_of(data.span()));
}

TEST(Volume, RecoversDsyncWritesAfterAKill) {
  VolumeFixture fixture;
  const AlignedBuffer data = pattern(64 << 10, 2);
  {
    auto file = fixture.create("/a");
    EXPECT_EQ(fixture.write(*file, 0, data.span(), KiocbFlags::dsync), IoResult::success(64 << 10));
    EXPECT_EQ(fixture.last_route, Route::issuer);
    EXPECT_EQ(fixture.last_reason, RouteReason::extending);
  }
  fixture.kill();
  fixture.open();
  EXPECT_FALSE(fixture.volume->recovery().clean);
  EXPECT_EQ(fixture.volume->recovery().records_replayed, 1U);
  auto file = fixture.reopen("/a");
  EXPECT_EQ(fixture.contents(*file, 0, 64 << 10), bytes_of(data.span()));
}

TEST(Volume, ForgetsUncommittedNamesAfterAKillAndStaysConsistent) {
  VolumeFixture fixture;
  must(fixture.volume->mkdir("/kept"));
  must(fixture.volume->sync(*fixture.issuer));
  must(fixture.volume->mkdir("/lost"));
  fixture.kill();
  fixture.open();
  EXPECT_TRUE(fixture.volume->stat("/kept"));
  EXPECT_TRUE(is_error(fixture.volume->stat("/lost"), Errc::not_found));
}

TEST(Volume, ReadsHolesAndTheRestOfTheLastBlockAsZeros) {
  VolumeFixture fixture(MemoryDeviceOptions{.logical_block_bytes = 512});
  auto file = fixture.create("/a");
  const AlignedBuffer data = pattern(512, 3);
  EXPECT_EQ(fixture.write(*file, 8192 + 512, data.span().first(512)), IoResult::success(512));
  std::vector<std::byte> expected(8192 + 1024);
  std::memcpy(expected.data() + 8192 + 512, data.data(), 512);
  EXPECT_EQ(fixture.contents(*file, 0, 16384), expected);
}

TEST(Volume, ZeroesTheGapBehindAnUnalignedEndBeforeTheFileGrows) {
  VolumeFixture fixture(MemoryDeviceOptions{.logical_block_bytes = 512});
  auto file = fixture.create("/a");
  const AlignedBuffer data = pattern(4096, 4);
  EXPECT_EQ(fixture.write(*file, 0, data.span()), IoResult::success(4096));
  must(file->truncate(*fixture.issuer, 1000));
  EXPECT_EQ(fixture.write(*file, 2048, data.span().first(512)), IoResult::success(512));
  std::vector<std::byte> expected(2560);
  std::memcpy(expected.data(), data.data(), 1000);
  std::memcpy(expected.data() + 2048, data.data(), 512);
  EXPECT_EQ(fixture.contents(*file, 0, 4096), expected);
  // The same through truncate.
  must(file->truncate(*fixture.issuer, 700));
  must(file->truncate(*fixture.issuer, 4096));
  expected.assign(4096, std::byte{0});
  std::memcpy(expected.data(), data.data(), 700);
  EXPECT_EQ(fixture.contents(*file, 0, 4096), expected);
}

TEST(Volume, ReusesBlocksOfRemovedFilesWithoutAnExplicitSync) {
  VolumeFixture fixture(MemoryDeviceOptions{.size_bytes = 8 << 20});
  const AlignedBuffer data = pattern(1 << 20, 5);
  for (int round = 0; round < 20; ++round) {
    {
      auto file = fixture.create("/a");
      for (unsigned i = 0; i < 5; ++i) {
        ASSERT_EQ(fixture.write(*file, i << 20, data.span()), IoResult::success(1 << 20)) << round;
      }
    }
    must(fixture.volume->unlink("/a"));
  }
}

TEST(Volume, SaysNoSpaceBeforeAnythingChanges) {
  VolumeFixture fixture(MemoryDeviceOptions{.size_bytes = 4 << 20});
  auto file = fixture.create("/a");
  const AlignedBuffer data = pattern(8 << 20, 6);
  const auto before = fixture.volume->info();
  EXPECT_EQ(fixture.write(*file, 0, data.span()), IoResult::failure(Errc::no_space));
  EXPECT_EQ(fixture.volume->info().free_bytes, before.free_bytes);
  EXPECT_EQ(file->size(), 0U);
}

TEST(Volume, ContinuesInTheLogAfterManyWrapsAndCheckpoints) {
  VolumeFixture fixture;
  for (int i = 0; i < 3000; ++i) {
    must(fixture.volume->mkdir("/d" + std::to_string(i)));
    must(fixture.volume->sync(*fixture.issuer));
  }
  fixture.kill();
  fixture.open();
  EXPECT_GT(fixture.volume->recovery().checkpoint_generation, 1U);
  EXPECT_EQ(fixture.volume->info().directory_count, 3001U);
}

TEST(Volume, CheckFindsNothingWrongWithAVolumeInUse) {
  VolumeFixture fixture;
  {
    auto file = fixture.create("/a");
    const AlignedBuffer data = pattern(256 << 10, 7);
    EXPECT_EQ(fixture.write(*file, 0, data.span(), KiocbFlags::dsync),
              IoResult::success(256 << 10));
  }
  fixture.kill();
  const CheckReport report = must(check_volume(*fixture.issuer, *fixture.device));
  EXPECT_THAT(report.findings, ::testing::IsEmpty());
  EXPECT_EQ(report.info.file_count, 1U);
}

}  // namespace
}  // namespace handback::testing
