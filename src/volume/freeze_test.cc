// A freeze ends whatever the issuers of what is in flight are doing, and holds the device still.
#include <array>
#include <atomic>
#include <latch>
#include <thread>

#include "base/kernel_failure_test_support.h"
#include "block/fault_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

struct FreezeTest : ::testing::Test {
  // All bytes of the device, as somebody sees them who copies it.
  std::vector<std::byte> copy_of_device() {
    AlignedBuffer bytes(fixture.device->geometry().size_bytes);
    auto device_file = make_device_file(*fixture.device);
    auto issuer = must(Issuer::create());
    Aiocb aiocb;
    aiocb.prepare_read(*device_file, 0, bytes.span());
    EXPECT_TRUE(issuer->run(aiocb).ok());
    return bytes_of(bytes.span());
  }

  VolumeFixture fixture{MemoryDeviceOptions{.size_bytes = 16U << 20, .volatile_cache = true}};
  const AlignedBuffer data = pattern(4096, 1);
  const AlignedBuffer other_data = pattern(4096, 2);
};

TEST_F(FreezeTest, WritesNothingUntilTheThaw) {
  auto file = fixture.create("/f");
  ASSERT_EQ(fixture.write(*file, 0, data.span()), IoResult::success(4096));
  must(fixture.volume->freeze(*fixture.issuer));
  EXPECT_TRUE(fixture.volume->frozen());
  const std::vector<std::byte> before = copy_of_device();

  Aiocb overwrite;
  Aiocb durable;
  overwrite.prepare_write(*file, 0, other_data.span());
  durable.prepare_write(*file, 8192, data.span(), KiocbFlags::dsync);
  fixture.issuer->submit(overwrite);
  fixture.issuer->submit(durable);
  auto created = fixture.create("/created");
  EXPECT_EQ(fixture.write(*created, 0, data.span(), KiocbFlags::nowait),
            IoResult::failure(Errc::would_block));
  must(fixture.volume->mkdir("/directory"));
  for (unsigned i = 0; i < 16; ++i)
    fixture.issuer->poll();
  EXPECT_EQ(fixture.issuer->in_flight(), 2U);
  EXPECT_TRUE(copy_of_device() == before);

  must(fixture.volume->thaw(*fixture.issuer));
  EXPECT_FALSE(fixture.volume->frozen());
  while (fixture.issuer->in_flight() != 0)
    fixture.issuer->wait();
  EXPECT_EQ(overwrite.result, IoResult::success(4096));
  EXPECT_EQ(durable.result, IoResult::success(4096));
}

TEST_F(FreezeTest, LeavesADeviceWhoseCopyHoldsAllThatWasAcknowledged) {
  auto file = fixture.create("/f");
  ASSERT_EQ(fixture.write(*file, 0, data.span()), IoResult::success(4096));
  must(fixture.volume->mkdir("/directory"));
  must(fixture.volume->freeze(*fixture.issuer));
  const std::vector<std::byte> copied = copy_of_device();
  must(fixture.volume->thaw(*fixture.issuer));
  file.reset();

  auto device = make_memory_device({.size_bytes = 16U << 20});
  auto issuer = must(Issuer::create());
  auto device_file = make_device_file(*device);
  AlignedBuffer bytes(copied.size());
  std::memcpy(bytes.data(), copied.data(), copied.size());
  Aiocb aiocb;
  aiocb.prepare_write(*device_file, 0, bytes.span());
  ASSERT_TRUE(issuer->run(aiocb).ok());
  auto volume = must(Volume::open(*issuer, *device));
  EXPECT_EQ(must(volume->stat("/f")).size_bytes, 4096U);
  EXPECT_EQ(must(volume->stat("/directory")).type, FileType::directory);
  must(volume->close(*issuer));
}

TEST_F(FreezeTest, LetsReadsGoOn) {
  auto file = fixture.create("/f");
  ASSERT_EQ(fixture.write(*file, 0, data.span()), IoResult::success(4096));
  must(fixture.volume->freeze(*fixture.issuer));
  EXPECT_EQ(fixture.contents(*file, 0, 4096), bytes_of(data.span()));
  must(fixture.volume->thaw(*fixture.issuer));
}

// The record that a freeze writes may be the one that makes the log too full.
TEST_F(FreezeTest, EndsWhileACheckpointIsUnderWay) {
  std::uint64_t checkpoints = 0;
  std::uint64_t used_before = 0;
  for (unsigned i = 0; i < 100; ++i) {
    must(fixture.volume->mkdir("/directory" + std::to_string(i)));
    must(fixture.volume->freeze(*fixture.issuer));
    const std::uint64_t used = fixture.volume->info().log_used_bytes;
    checkpoints += used < used_before ? 1 : 0;
    used_before = used;
    must(fixture.volume->thaw(*fixture.issuer));
  }
  EXPECT_GE(checkpoints, 1U);
}

TEST_F(FreezeTest, RefusesOnItsOwnThreadWhatWouldWaitForTheThaw) {
  auto file = fixture.create("/f");
  must(fixture.volume->freeze(*fixture.issuer));
  EXPECT_TRUE(is_error(fixture.volume->freeze(*fixture.issuer), Errc::busy));
  EXPECT_TRUE(is_error(file->truncate(*fixture.issuer, 0), Errc::busy));
  must(fixture.volume->mkdir("/directory"));
  EXPECT_TRUE(is_error(fixture.volume->sync(*fixture.issuer), Errc::busy));
  must(fixture.volume->thaw(*fixture.issuer));
  must(fixture.volume->sync(*fixture.issuer));
  EXPECT_TRUE(is_error(fixture.volume->thaw(*fixture.issuer), Errc::invalid));
}

TEST_F(FreezeTest, LetsOtherThreadsWaitForTheThaw) {
  auto file = fixture.create("/f");
  ASSERT_EQ(fixture.write(*file, 0, data.span()), IoResult::success(4096));
  must(fixture.volume->freeze(*fixture.issuer));
  must(fixture.volume->mkdir("/directory"));
  std::atomic<unsigned> ended{0};
  std::latch ready{2};
  std::thread syncing([&] {
    auto issuer = must(Issuer::create());
    ready.count_down();
    EXPECT_TRUE(fixture.volume->sync(*issuer));
    EXPECT_FALSE(fixture.volume->frozen());
    ++ended;
  });
  std::thread truncating([&] {
    auto issuer = must(Issuer::create());
    ready.count_down();
    EXPECT_TRUE(file->truncate(*issuer, 0));
    EXPECT_FALSE(fixture.volume->frozen());
    ++ended;
  });
  ready.wait();
  EXPECT_EQ(ended.load(), 0U);
  must(fixture.volume->thaw(*fixture.issuer));
  syncing.join();
  truncating.join();
  EXPECT_EQ(file->size(), 0U);
}

TEST_F(FreezeTest, HoldsFilesThatAreOpenedAndLetsGoOfThoseThatAreClosed) {
  auto before = fixture.create("/before");
  must(fixture.volume->freeze(*fixture.issuer));
  before.reset();
  auto after = fixture.create("/after");
  EXPECT_EQ(fixture.write(*after, 0, data.span(), KiocbFlags::nowait),
            IoResult::failure(Errc::would_block));
  must(fixture.volume->thaw(*fixture.issuer));
  EXPECT_EQ(fixture.write(*after, 0, data.span()), IoResult::success(4096));
}

TEST_F(FreezeTest, CanBeEndedByAnyThreadAndByClosing) {
  must(fixture.volume->freeze(*fixture.issuer));
  std::thread([&] {
    auto issuer = must(Issuer::create());
    EXPECT_TRUE(fixture.volume->thaw(*issuer));
  }).join();
  must(fixture.volume->freeze(*fixture.issuer));
  must(fixture.volume->mkdir("/directory"));
  fixture.close();
  fixture.open();
  EXPECT_TRUE(fixture.volume->recovery().clean);
  EXPECT_EQ(must(fixture.volume->stat("/directory")).type, FileType::directory);
}

// The thread that could thaw waits for it.
TEST_F(FreezeTest, LetsAThreadEndWhoseWritesStandInLine) {
  auto file = fixture.create("/f");
  auto log = fixture.create("/log");
  auto odd = fixture.create("/odd");
  ASSERT_EQ(fixture.write(*odd, 0, data.span()), IoResult::success(4096));
  must(odd->truncate(*fixture.issuer, 1000));
  must(fixture.volume->freeze(*fixture.issuer));
  std::array<Aiocb, 3> aiocbs;
  std::unique_ptr<Issuer> issuer;
  std::thread([&] {
    issuer = must(Issuer::create());
    aiocbs[0].prepare_write(*file, 0, data.span());
    aiocbs[1].prepare_write(*log, 0, data.span(), KiocbFlags::append);
    // This one stands in line with the zeroing of the file's tail.
    aiocbs[2].prepare_write(*odd, 8192, data.span());
    for (Aiocb& aiocb : aiocbs)
      issuer->submit(aiocb);
  }).join();
  for (const Aiocb& aiocb : aiocbs)
    EXPECT_EQ(aiocb.result, IoResult::failure(Errc::canceled));
  must(fixture.volume->thaw(*fixture.issuer));
  // The append has given its place back.
  EXPECT_EQ(fixture.write(*log, 0, data.span(), KiocbFlags::append), IoResult::success(4096));
  EXPECT_EQ(fixture.last_offset, 0U);
}

TEST(Freeze, LeavesTheVolumeThawedIfTheDeviceFails) {
  auto memory = make_memory_device({.volatile_cache = true});
  auto device = std::make_unique<FaultDevice>(*memory);
  FaultDevice& faults = *device;
  VolumeFixture fixture(std::move(device));
  auto file = fixture.create("/f");
  faults.fail(BioOp::flush, 1, IoResult::host_failure(5));
  EXPECT_TRUE(is_error(fixture.volume->freeze(*fixture.issuer), Errc::io));
  EXPECT_FALSE(fixture.volume->frozen());
  // Poisoned, but nobody waits.
  EXPECT_TRUE(is_error(fixture.volume->freeze(*fixture.issuer), Errc::poisoned));
  EXPECT_EQ(fixture.write(*file, 0, pattern(4096, 1).span()), IoResult::failure(Errc::poisoned));
  file.reset();
  fixture.kill();
}

// The kernel's deadlock: a freeze waits for a request whose completion is in the queue of a task
// that the freeze keeps from going on.
bool freezes_while_a_submitter_goes_on() {
  VolumeFixture fixture;
  auto file = fixture.create("/f");
  auto probed = fixture.create("/probed");
  const AlignedBuffer data = pattern(4096, 1);
  std::latch first_submitted{1};
  std::latch freezing{1};
  std::atomic<bool> thawed{false};
  Aiocb first;
  Aiocb second;
  std::thread submitter([&] {
    auto issuer = must(Issuer::create());
    first.prepare_write(*file, 0, data.span());
    second.prepare_write(*file, 4096, data.span());
    issuer->submit(first);
    issuer->kick();
    first_submitted.count_down();
    freezing.wait();
    issuer->submit(second);
    while (issuer->in_flight() != 0)
      issuer->wait();
  });
  first_submitted.wait();
  std::thread freezer([&] {
    auto issuer = must(Issuer::create());
    must(fixture.volume->freeze(*issuer));
    must(fixture.volume->thaw(*issuer));
    thawed = true;
  });
  // A freeze that has begun refuses what will not wait.
  Aiocb probe;
  do {
    probe.prepare_write(*probed, 0, data.span(), KiocbFlags::nowait);
    if (fixture.issuer->run(probe).code() == Errc::would_block) break;
  } while (!thawed);
  freezing.count_down();
  freezer.join();
  submitter.join();
  return first.result == IoResult::success(4096) && second.result == IoResult::success(4096);
}

class KernelFailure : public ThreadedDeathTest {};

TEST_F(KernelFailure, FreezeEndsWhileASubmitterGoesOn) {
  EXPECT_EXIT(run_watched(OldBehaviour::none, &freezes_while_a_submitter_goes_on), passes, "");
}
TEST_F(KernelFailure, FreezeHangsIfItsGateBlocksAndWaitsSettleNothing) {
  EXPECT_EXIT(run_watched(OldBehaviour::gate_blocks, &freezes_while_a_submitter_goes_on), hangs,
              "");
}

}  // namespace
}  // namespace handback::testing
