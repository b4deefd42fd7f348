#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

class VolumeFileIo : public ::testing::Test {
 protected:
  VolumeFileIo() { file_ = fixture_.create("/f"); }
  VolumeFixture fixture_{
      MemoryDeviceOptions{.logical_block_bytes = 512, .memory_alignment_bytes = 512}};
  std::unique_ptr<VolumeFile> file_;
  AlignedBuffer data_ = pattern(1 << 20, 1);
};

using ::testing::ElementsAre;

TEST_F(VolumeFileIo, RoutesEachClassOfWriteByItsFirstReason) {
  const auto expect = [&](IoResult result, Route route, RouteReason reason) {
    EXPECT_TRUE(result.ok()) << describe(result);
    EXPECT_EQ(to_string(fixture_.last_route), to_string(route));
    EXPECT_EQ(to_string(fixture_.last_reason), to_string(reason));
  };
  expect(fixture_.write(*file_, 0, data_.span().first(8192)), Route::issuer,
         RouteReason::extending);
  expect(fixture_.write(*file_, 0, data_.span().first(8192)), Route::inline_,
         RouteReason::pure_overwrite);
  expect(fixture_.write(*file_, 4096, data_.span().first(8192)), Route::issuer,
         RouteReason::extending);
  must(file_->truncate(*fixture_.issuer, 64 << 10));
  expect(fixture_.write(*file_, 32 << 10, data_.span().first(4096)), Route::issuer,
         RouteReason::new_extent);
  must(file_->preallocate(40 << 10, 8192));
  expect(fixture_.write(*file_, 40 << 10, data_.span().first(4096)), Route::issuer,
         RouteReason::unwritten);
  AlignedBuffer buffer(4096);
  expect(fixture_.read(*file_, 0, buffer.span()), Route::inline_, RouteReason::read_ok);
  expect(fixture_.read(*file_, 20 << 10, buffer.span()), Route::submit, RouteReason::submit_ended);
}

TEST_F(VolumeFileIo, ADsyncOverwriteOfUncommittedBlocksWaitsForTheLog) {
  ASSERT_TRUE(fixture_.write(*file_, 0, data_.span().first(4096)).ok());
  EXPECT_TRUE(fixture_.write(*file_, 0, data_.span().first(4096), KiocbFlags::dsync).ok());
  EXPECT_EQ(fixture_.last_reason, RouteReason::dsync);
  // Now that it is committed, a device without a cache has nothing left to do.
  EXPECT_TRUE(fixture_.write(*file_, 0, data_.span().first(4096), KiocbFlags::dsync).ok());
  EXPECT_EQ(fixture_.last_reason, RouteReason::pure_overwrite);
}

TEST_F(VolumeFileIo, AppendsGoToTheEndAndSayWhere) {
  for (unsigned i = 0; i < 4; ++i) {
    ASSERT_EQ(fixture_.write(*file_, 12345 * 512, data_.span().subspan(i * 1024, 1024),
                             KiocbFlags::append),
              IoResult::success(1024));
    EXPECT_EQ(fixture_.last_offset, i * 1024U);
  }
  EXPECT_EQ(fixture_.contents(*file_, 0, 4096), bytes_of(data_.span().first(4096)));
}

TEST_F(VolumeFileIo, AppendsInFlightTogetherGetPlacesOfTheirOwn) {
  std::array<Aiocb, 16> requests;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].prepare_write(*file_, 0, data_.span().subspan(i * 4096, 4096), KiocbFlags::append);
    fixture_.issuer->submit(requests[i]);
  }
  while (fixture_.issuer->in_flight() != 0)
    fixture_.issuer->wait();
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(requests[i].ki_pos, i * 4096);
  EXPECT_EQ(fixture_.contents(*file_, 0, 65536), bytes_of(data_.span().first(65536)));
}

TEST_F(VolumeFileIo, AppendToAnUnalignedEndIsRefusedByName) {
  must(file_->truncate(*fixture_.issuer, 100));
  EXPECT_EQ(fixture_.write(*file_, 0, data_.span().first(512), KiocbFlags::append),
            IoResult::failure(Errc::invalid, IoDetail::offset_unaligned));
  EXPECT_EQ(file_->size(), 100U);
}

TEST_F(VolumeFileIo, RefusesUnalignedRequestsByName) {
  EXPECT_EQ(fixture_.write(*file_, 100, data_.span().first(512)),
            IoResult::failure(Errc::invalid, IoDetail::offset_unaligned));
  EXPECT_EQ(fixture_.write(*file_, 0, data_.span().first(100)),
            IoResult::failure(Errc::invalid, IoDetail::length_unaligned));
  EXPECT_EQ(fixture_.write(*file_, 0, data_.span().subspan(16, 512)),
            IoResult::failure(Errc::invalid, IoDetail::buffer_unaligned));
  EXPECT_EQ(file_->size(), 0U);
}

TEST_F(VolumeFileIo, RefusesWhatLiesBeyondTheLargestFile) {
  EXPECT_EQ(fixture_.write(*file_, file_size_bytes_max, data_.span().first(512)),
            IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit));
  EXPECT_TRUE(
      is_error(file_->truncate(*fixture_.issuer, file_size_bytes_max + 1), Errc::too_large));
  EXPECT_TRUE(is_error(file_->preallocate(file_size_bytes_max, 1), Errc::too_large));
  // At the edge it works: a sparse file of the largest size.
  EXPECT_EQ(fixture_.write(*file_, file_size_bytes_max - 512, data_.span().first(512)),
            IoResult::success(512));
  EXPECT_EQ(file_->size(), file_size_bytes_max);
  EXPECT_EQ(fixture_.contents(*file_, file_size_bytes_max - 512, 512),
            bytes_of(data_.span().first(512)));
  fixture_.kill_files(file_);
  EXPECT_EQ(must(fixture_.volume->stat("/f")).size_bytes, file_size_bytes_max);
}

TEST_F(VolumeFileIo, SubBlockWritesIntoOneNewBlockAtTheSameTimeKeepEachOthersBytes) {
  std::array<Aiocb, 8> requests;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].prepare_write(*file_, i * 512, data_.span().subspan(i * 512, 512));
    fixture_.issuer->submit(requests[i]);
  }
  while (fixture_.issuer->in_flight() != 0)
    fixture_.issuer->wait();
  for (const Aiocb& request : requests)
    EXPECT_EQ(request.result, IoResult::success(512));
  EXPECT_EQ(fixture_.contents(*file_, 0, 4096), bytes_of(data_.span().first(4096)));
}

TEST_F(VolumeFileIo, NowaitFailsInsteadOfStandingInLine) {
  Aiocb first;
  Aiocb second;
  first.prepare_write(*file_, 0, data_.span().first(512));
  second.prepare_write(*file_, 512, data_.span().first(512), KiocbFlags::nowait);
  fixture_.issuer->submit(first);
  fixture_.issuer->submit(second);
  while (fixture_.issuer->in_flight() != 0)
    fixture_.issuer->wait();
  EXPECT_EQ(first.result, IoResult::success(512));
  EXPECT_EQ(second.result, IoResult::failure(Errc::would_block));
}

TEST_F(VolumeFileIo, TruncateWithItsOwnRequestsInFlightEndsAndDeliversNothingInside) {
  std::array<Aiocb, 16> requests;
  static unsigned delivered = 0;
  delivered = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].prepare_write(*file_, i * 4096, data_.span().subspan(i * 4096, 4096),
                              KiocbFlags::dsync, [](Aiocb&) noexcept { ++delivered; });
    fixture_.issuer->submit(requests[i]);
  }
  must(file_->truncate(*fixture_.issuer, 4096));
  EXPECT_EQ(delivered, 0U);
  EXPECT_EQ(file_->size(), 4096U);
  while (fixture_.issuer->in_flight() != 0)
    fixture_.issuer->wait();
  EXPECT_EQ(delivered, 16U);
  EXPECT_EQ(file_->size(), 4096U)
      << "a request that was settled before does not grow the file again";
}

TEST_F(VolumeFileIo, PreallocatedSpaceReadsAsZerosSurvivesAndIsNotTakenByOthers) {
  must(file_->preallocate(0, 1 << 20));
  EXPECT_EQ(file_->size(), 0U);
  must(file_->truncate(*fixture_.issuer, 1 << 20));
  must(file_->fsync(*fixture_.issuer));
  fixture_.kill_files(file_);
  file_ = fixture_.reopen("/f");
  ASSERT_EQ(file_->extents().size(), 1U);
  EXPECT_TRUE(file_->extents()[0].unwritten);
  EXPECT_EQ(file_->extents()[0].length, 1U << 20);
  EXPECT_EQ(fixture_.contents(*file_, 0, 1 << 20), std::vector<std::byte>(1 << 20));
}

TEST_F(VolumeFileIo, PreallocationThatDoesNotFitChangesNothing) {
  const auto before = fixture_.volume->info();
  EXPECT_TRUE(is_error(file_->preallocate(0, 1ULL << 40), Errc::no_space));
  EXPECT_EQ(fixture_.volume->info().free_bytes, before.free_bytes);
  EXPECT_EQ(file_->extents().size(), 0U);
}

TEST_F(VolumeFileIo, AFileWrittenInOrderStaysInOnePiece) {
  for (unsigned i = 0; i < 64; ++i) {
    ASSERT_TRUE(fixture_.write(*file_, i * 16384, data_.span().first(16384)).ok());
  }
  EXPECT_EQ(file_->extents().size(), 1U);
}

// Against bytes in memory: any mixture of what a file can do. HB_SEED replays.
TEST_F(VolumeFileIo, AgreesWithAShadowInMemoryUnderRandomUse) {
  const std::uint64_t seed = number_from_environment("HB_SEED", 1);
  SCOPED_TRACE(::testing::Message() << "replay with HB_SEED=" << seed);
  std::mt19937_64 random(seed);
  std::vector<std::byte> shadow;
  constexpr std::uint64_t span = 256 << 10;
  AlignedBuffer buffer(span);
  for (int step = 0; step < 3000; ++step) {
    SCOPED_TRACE(::testing::Message() << "step " << step);
    const std::uint64_t offset = random() % (span / 512) * 512;
    const std::size_t length = std::min<std::uint64_t>(span - offset, (1 + random() % 40) * 512);
    switch (random() % 12) {
      case 0: {
        const std::uint64_t size = random() % span;
        must(file_->truncate(*fixture_.issuer, size));
        shadow.resize(size);
        break;
      }
      case 1:
        must(file_->preallocate(offset, length));
        break;
      case 2:
        if (random() % 8 == 0) {
          fixture_.kill_files(file_, random() % 2 == 0);
          file_ = fixture_.reopen("/f");
        }
        break;
      case 3:
      case 4:
      case 5: {
        const auto is = fixture_.contents(*file_, offset, length);
        const std::size_t end = std::min<std::size_t>(shadow.size(), offset + length);
        const std::vector<std::byte> expected(
            shadow.begin() + static_cast<std::ptrdiff_t>(std::min(offset, end)),
            shadow.begin() + static_cast<std::ptrdiff_t>(end));
        ASSERT_EQ(is, expected);
        break;
      }
      default: {
        fill_pattern(buffer.span().first(length), random());
        const bool dsync = random() % 4 == 0;
        ASSERT_EQ(fixture_.write(*file_, offset, buffer.span().first(length),
                                 dsync ? KiocbFlags::dsync : KiocbFlags::none),
                  IoResult::success(static_cast<std::uint32_t>(length)));
        if (shadow.size() < offset + length) shadow.resize(offset + length);
        std::memcpy(shadow.data() + offset, buffer.data(), length);
      }
    }
    ASSERT_EQ(file_->size(), shadow.size());
  }
}

}  // namespace
}  // namespace handback::testing
