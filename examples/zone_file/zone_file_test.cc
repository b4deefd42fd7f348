// A zone is written in order, publishes a prefix, keeps what it promised over a reopening, and
// settles failures with its mutex and more I/O without any drain hanging on it.
#include "zone_file/zone_file.h"

#include <poll.h>

#include <atomic>
#include <latch>
#include <mutex>
#include <thread>

#include "examples_test_support.h"

namespace examples::testing {
namespace {

using namespace handback;

constexpr std::uint64_t zone_addr = 1U << 20;
constexpr std::uint64_t zone_bytes = 65 * std::uint64_t{block_bytes};
constexpr ZoneRange range{.addr = zone_addr, .zone_bytes = zone_bytes};
// Where the file's byte 0 lies on the device.
constexpr std::uint64_t data_addr = zone_addr + block_bytes;

constexpr IoResult not_next = IoResult::failure(Errc::invalid, IoDetail::offset_not_next);
constexpr KiocbFlags append = KiocbFlags::append;
constexpr KiocbFlags dsync = KiocbFlags::dsync;

struct ZoneRig {
  explicit ZoneRig(const MemoryDeviceOptions& options = {})
      : memory(make_memory_device(options)),
        device(*memory),
        issuer(make_issuer()),
        zone(value_of(ZoneFile::create(*issuer, device, range))) {}

  void reopen() {
    zone.reset();
    zone = value_of(ZoneFile::open(*issuer, device, range));
  }
  IoResult write(std::uint64_t offset, char with, KiocbFlags flags = KiocbFlags::none) {
    return testing::write(*issuer, *zone, offset, with, flags);
  }
  [[nodiscard]] std::string blocks() { return blocks_of(*issuer, *zone); }
  [[nodiscard]] ZoneStatus status() const { return zone->status(); }
  // Looks whether anything more is delivered without the device's help.
  void poll_on() {
    for (int i = 0; i < 10; ++i)
      issuer->poll();
  }

  std::unique_ptr<BlockDevice> memory;
  FailingDevice device;
  std::unique_ptr<Issuer> issuer;
  std::unique_ptr<ZoneFile> zone;
};

// --- order ---

TEST(ZoneFile, TakesWritesAtItsWritePointerOnlyAndRefusesOthersBeforeAnythingHappens) {
  ZoneRig rig;
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  const std::uint64_t writes = rig.device.count(BioOp::write);
  EXPECT_EQ(rig.write(0, 'b'), not_next);
  EXPECT_EQ(rig.write(8192, 'c'), not_next);
  EXPECT_EQ(rig.device.count(BioOp::write), writes);
  EXPECT_EQ(rig.status().write_pointer, 4096U);
  EXPECT_EQ(rig.write(4096, 'd'), whole_block);
  EXPECT_EQ(rig.blocks(), "ad");
}

TEST(ZoneFile, TellsAnAppendWhereItWent) {
  ZoneRig rig;
  std::vector<std::unique_ptr<Block>> writes;
  for (char with = 'a'; with < 'i'; ++with) {
    writes.push_back(std::make_unique<Block>(with));
    writes.back()->submit(*rig.issuer, *rig.zone, 12345 * 4096ULL, append);
    EXPECT_EQ(writes.back()->ki_pos, (writes.size() - 1) * 4096);
  }
  deliver_all(*rig.issuer);
  for (const auto& write : writes)
    EXPECT_EQ(write->result, whole_block);
  EXPECT_EQ(rig.blocks(), "abcdefgh");
}

TEST(ZoneFile, RefusesWhatItCannotPlace) {
  ZoneRig rig;
  const AlignedBuffer all = filled('a', 64);
  Aiocb write;
  write.prepare_write(*rig.zone, 0, all.span(), KiocbFlags::nowait);
  EXPECT_EQ(rig.issuer->run(write), IoResult::failure(Errc::not_supported, IoDetail::flag_nowait));
  write.prepare_write(*rig.zone, 0, all.span().first(100));
  EXPECT_EQ(rig.issuer->run(write), IoResult::failure(Errc::invalid, IoDetail::length_unaligned));
  write.prepare_write(*rig.zone, 0, all.span());
  EXPECT_EQ(rig.issuer->run(write), IoResult::success(64 * 4096));
  EXPECT_EQ(rig.write(64 * 4096ULL, 'b'), IoResult::failure(Errc::no_space));
  EXPECT_EQ(rig.write(0, 'b', append), IoResult::failure(Errc::no_space));
  EXPECT_EQ(rig.blocks(), std::string(64, 'a'));
}

TEST(ZoneFile, PublishesThePrefixHoweverItsWritesEnd) {
  ZoneRig rig;
  Block a('a');
  Block b('b');
  Block c('c');
  rig.device.hold(true);
  a.submit(*rig.issuer, *rig.zone, 0);
  b.submit(*rig.issuer, *rig.zone, 4096);
  c.submit(*rig.issuer, *rig.zone, 8192);
  rig.device.let_go(2);
  rig.poll_on();
  EXPECT_EQ(c.result, whole_block);
  EXPECT_EQ(rig.status().size_bytes, 0U);
  rig.device.let_go(0);
  rig.poll_on();
  EXPECT_EQ(rig.status().size_bytes, 4096U);
  rig.device.let_go(0);
  rig.poll_on();
  EXPECT_EQ(rig.status().size_bytes, 12288U);
  rig.device.hold(false);
  EXPECT_EQ(rig.blocks(), "abc");
}

TEST(ZoneFile, HandsWritesBackAndSettlesReadsWhereTheyEnd) {
  ZoneRig rig;
  Block write('a');
  write.submit(*rig.issuer, *rig.zone, 0);
  deliver_all(*rig.issuer);
  EXPECT_EQ(write.routed(), (RouteDecision{Route::issuer, RouteReason::extending}));
  Aiocb read;
  read.prepare_read(*rig.zone, 0, write.data.span());
  EXPECT_EQ(rig.issuer->run(read), whole_block);
  EXPECT_EQ((RouteDecision{read.route, read.route_reason}),
            (RouteDecision{Route::inline_, RouteReason::read_ok}));
}

TEST(ZoneFile, ServesSynchronousCallersAndThoseThatCannotBeHandedBackTo) {
  ZoneRig rig;
  Kiocb kiocb;
  AlignedBuffer data = filled('a');
  EXPECT_EQ(run_sync(kiocb, *rig.issuer, *rig.zone, 0, data.span(), KiocbFlags::write | dsync),
            whole_block);
  EXPECT_EQ(kiocb.route, Route::waiter);
  EXPECT_EQ(rig.status().durable_bytes, 4096U);
  Block worker('b');
  worker.prepare_write(*rig.zone, 4096, worker.data.span(), dsync);
  worker.ki_flags &= ~KiocbFlags::dio_defer;
  EXPECT_EQ(rig.issuer->run(worker), whole_block);
  EXPECT_EQ(worker.routed(), (RouteDecision{Route::worker, RouteReason::no_defer}));
  // Fails, and is settled when its own caller has read the header again.
  rig.device.fail(BioOp::write, data_addr + 8192);
  EXPECT_EQ(run_sync(kiocb, *rig.issuer, *rig.zone, 8192, data.span(), KiocbFlags::write),
            FailingDevice::failure());
  EXPECT_EQ(rig.status().recoveries, 1U);
  EXPECT_EQ(rig.write(8192, 'c'), whole_block);
  EXPECT_EQ(rig.blocks(), "abc");
}

// --- durability ---

struct Cache {
  const char* name;
  bool volatile_cache;
  bool fua;
  std::uint64_t flushes_of_a_commit;
};

class ZoneDurability : public ::testing::TestWithParam<Cache> {
 protected:
  ZoneRig rig{{.volatile_cache = GetParam().volatile_cache, .fua = GetParam().fua}};
};

TEST_P(ZoneDurability, ADsyncWriteTakesOneCommit) {
  const std::uint64_t writes = rig.device.count(BioOp::write);
  const std::uint64_t flushes = rig.device.count(BioOp::flush);
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  EXPECT_EQ(rig.write(4096, 'b', dsync), whole_block);
  EXPECT_EQ(rig.status().durable_bytes, 8192U);
  EXPECT_EQ(rig.device.count(BioOp::write), writes + 3);
  EXPECT_EQ(rig.device.count(BioOp::flush), flushes + GetParam().flushes_of_a_commit);
  rig.reopen();
  EXPECT_EQ(rig.blocks(), "ab");
}

TEST_P(ZoneDurability, AReopenedZoneEndsAtTheLastSync) {
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  EXPECT_EQ(rig.zone->sync(*rig.issuer), IoResult());
  EXPECT_EQ(rig.write(4096, 'b'), whole_block);
  EXPECT_EQ(rig.blocks(), "ab");
  rig.reopen();
  EXPECT_EQ(rig.blocks(), "a");
  EXPECT_EQ(rig.write(4096, 'c'), whole_block);
  EXPECT_EQ(rig.blocks(), "ac");
}

// It is in the prefix only once what is before it is.
TEST_P(ZoneDurability, ADsyncWriteWaitsForTheWritesBeforeIt) {
  Block a('a');
  Block b('b');
  rig.device.hold(true);
  a.submit(*rig.issuer, *rig.zone, 0);
  b.submit(*rig.issuer, *rig.zone, 4096, dsync);
  rig.device.hold(false);
  rig.device.let_go(1);
  rig.poll_on();
  EXPECT_FALSE(b.delivered);
  EXPECT_EQ(rig.status().durable_bytes, 0U);
  rig.device.let_go(0);
  deliver_all(*rig.issuer);
  EXPECT_EQ(a.result, whole_block);
  EXPECT_EQ(b.result, whole_block);
  EXPECT_EQ(b.routed(), (RouteDecision{Route::issuer, RouteReason::extending}));
  rig.reopen();
  EXPECT_EQ(rig.blocks(), "ab");
}

TEST_P(ZoneDurability, DsyncWritesShareCommits) {
  const std::uint64_t writes = rig.device.count(BioOp::write);
  std::vector<std::unique_ptr<Block>> blocks;
  for (int i = 0; i < 32; ++i) {
    blocks.push_back(std::make_unique<Block>('a'));
    blocks.back()->submit(*rig.issuer, *rig.zone, 0, append | dsync);
  }
  deliver_all(*rig.issuer);
  for (const auto& block : blocks)
    EXPECT_EQ(block->result, whole_block);
  EXPECT_LE(rig.device.count(BioOp::write), writes + 32 + 2);
  rig.reopen();
  EXPECT_EQ(rig.blocks(), std::string(32, 'a'));
}

TEST_P(ZoneDurability, AFailedHeaderWriteMakesItReadOnlyUntilItIsReset) {
  rig.device.fail(BioOp::write, zone_addr);
  EXPECT_EQ(rig.write(0, 'a', dsync), FailingDevice::failure());
  EXPECT_EQ(rig.status().state, ZoneState::read_only);
  EXPECT_EQ(rig.status().error, FailingDevice::failure());
  EXPECT_EQ(rig.write(4096, 'b'), IoResult::failure(Errc::read_only));
  EXPECT_EQ(rig.zone->sync(*rig.issuer), IoResult::failure(Errc::read_only));
  EXPECT_EQ(rig.zone->finish(*rig.issuer), IoResult::failure(Errc::read_only));
  EXPECT_EQ(rig.blocks(), "a");
  EXPECT_EQ(rig.zone->reset(*rig.issuer), IoResult());
  EXPECT_EQ(rig.write(0, 'c', dsync), whole_block);
  EXPECT_EQ(rig.blocks(), "c");
}

INSTANTIATE_TEST_SUITE_P(Caches, ZoneDurability,
                         ::testing::Values(Cache{"none", false, false, 0},
                                           Cache{"volatile_with_fua", true, true, 1},
                                           Cache{"volatile", true, false, 2}),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(ZoneFile, AFailedFlushMakesItReadOnlyAndNothingDurable) {
  ZoneRig rig({.volatile_cache = true});
  EXPECT_EQ(rig.write(0, 'a', dsync), whole_block);
  rig.device.fail(BioOp::flush, 0);
  EXPECT_EQ(rig.write(4096, 'b', dsync), FailingDevice::failure());
  EXPECT_EQ(rig.status().state, ZoneState::read_only);
  EXPECT_EQ(rig.status().durable_bytes, 4096U);
  rig.reopen();
  EXPECT_EQ(rig.blocks(), "a");
}

// --- failures ---

TEST(ZoneFile, GoesOnWhereThePrefixEndsAfterAFailedWrite) {
  ZoneRig rig;
  Block a('a');
  Block b('b');
  Block c('c');
  rig.device.hold(true);
  a.submit(*rig.issuer, *rig.zone, 0);
  b.submit(*rig.issuer, *rig.zone, 4096);
  c.submit(*rig.issuer, *rig.zone, 8192);
  rig.device.hold(false);
  rig.device.let_go(1, true);
  rig.poll_on();
  EXPECT_EQ(b.result, FailingDevice::failure());
  EXPECT_EQ(b.routed(), (RouteDecision{Route::issuer, RouteReason::error}));
  EXPECT_EQ(rig.status().state, ZoneState::suspect);
  EXPECT_EQ(rig.write(12288, 'd'), IoResult::failure(Errc::busy));
  // Behind the gap, and told so; the other one is before it.
  rig.device.let_go(1);
  rig.poll_on();
  EXPECT_EQ(c.result, FailingDevice::failure());
  EXPECT_EQ(rig.status().recoveries, 0U);
  rig.device.let_go(0);
  deliver_all(*rig.issuer);
  EXPECT_EQ(a.result, whole_block);
  EXPECT_EQ(rig.status().recoveries, 1U);
  EXPECT_EQ(rig.status().state, ZoneState::open);
  EXPECT_EQ(rig.status().write_pointer, 4096U);
  EXPECT_EQ(rig.write(4096, 'e', dsync), whole_block);
  EXPECT_EQ(rig.blocks(), "ae");
}

TEST(ZoneFile, IsReadOnlyIfItsHeaderCannotBeReadAgain) {
  ZoneRig rig;
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  rig.device.fail(BioOp::write, data_addr + 4096);
  rig.device.fail(BioOp::read, zone_addr);
  EXPECT_EQ(rig.write(4096, 'b'), FailingDevice::failure());
  EXPECT_EQ(rig.status().state, ZoneState::read_only);
  EXPECT_EQ(rig.write(4096, 'b'), IoResult::failure(Errc::read_only));
  EXPECT_EQ(rig.blocks(), "a");
  EXPECT_EQ(rig.zone->reset(*rig.issuer), IoResult());
  EXPECT_EQ(rig.write(0, 'c'), whole_block);
}

TEST(ZoneFile, IsReadOnlyIfItsHeaderIsNotWhatItWrote) {
  ZoneRig rig;
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  // Somebody else resets the zone behind this object's back.
  static_cast<void>(value_of(ZoneFile::create(*rig.issuer, rig.device, range)));
  const auto raw = make_device_file(rig.device);
  EXPECT_EQ(write(*rig.issuer, *raw, zone_addr, 'x'), whole_block);
  rig.device.fail(BioOp::write, data_addr + 4096);
  EXPECT_EQ(rig.write(4096, 'b'), FailingDevice::failure());
  EXPECT_EQ(rig.status().state, ZoneState::read_only);
  EXPECT_EQ(rig.status().error, IoResult::failure(Errc::damaged));
}

// Its data is down and its range is free, and then the write before it fails.
TEST(ZoneFile, FailsADsyncWriteWhoseGapIsNeverFilled) {
  ZoneRig rig;
  Block a('a');
  Block b('b');
  rig.device.hold(true);
  a.submit(*rig.issuer, *rig.zone, 0);
  b.submit(*rig.issuer, *rig.zone, 4096, dsync);
  rig.device.hold(false);
  rig.device.let_go(1);
  rig.poll_on();
  EXPECT_FALSE(b.delivered);
  rig.device.let_go(0, true);
  deliver_all(*rig.issuer);
  EXPECT_EQ(a.result, FailingDevice::failure());
  EXPECT_EQ(b.result, FailingDevice::failure());
  EXPECT_EQ(rig.write(0, 'c', dsync), whole_block);
  EXPECT_EQ(rig.blocks(), "c");
}

TEST(ZoneFile, CountsReadsThatFail) {
  ZoneRig rig;
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  rig.device.fail(BioOp::read, data_addr);
  EXPECT_EQ(rig.blocks(), "!");
  EXPECT_EQ(rig.status().read_errors, 1U);
  EXPECT_EQ(rig.status().state, ZoneState::open);
}

// --- reset and finish ---

TEST(ZoneFile, IsResetByTheThreadWhoseWritesAreInFlight) {
  ZoneRig rig;
  std::vector<std::unique_ptr<Block>> blocks;
  for (int i = 0; i < 8; ++i) {
    blocks.push_back(std::make_unique<Block>('a'));
    blocks.back()->submit(*rig.issuer, *rig.zone, 0, i % 2 == 0 ? append : append | dsync);
  }
  EXPECT_EQ(rig.zone->reset(*rig.issuer), IoResult());
  for (const auto& block : blocks)
    EXPECT_FALSE(block->delivered);
  EXPECT_EQ(rig.status().size_bytes, 0U);
  deliver_all(*rig.issuer);
  for (const auto& block : blocks)
    EXPECT_EQ(block->result, whole_block);
  EXPECT_EQ(rig.write(0, 'b'), whole_block);
  EXPECT_EQ(rig.blocks(), "b");
  rig.reopen();
  EXPECT_EQ(rig.blocks(), "");
}

TEST(ZoneFile, IsFinishedWithWhatIsInIt) {
  ZoneRig rig;
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  Block in_flight('b');
  in_flight.submit(*rig.issuer, *rig.zone, 4096);
  EXPECT_EQ(rig.zone->finish(*rig.issuer), IoResult());
  deliver_all(*rig.issuer);
  for (int turn = 0; turn < 2; ++turn) {
    EXPECT_EQ(rig.status().state, ZoneState::finished);
    EXPECT_EQ(rig.status().write_pointer, rig.status().capacity_bytes);
    EXPECT_EQ(rig.write(8192, 'c', append), IoResult::failure(Errc::no_space));
    EXPECT_EQ(rig.blocks(), "ab");
    rig.reopen();
  }
  EXPECT_EQ(rig.zone->reset(*rig.issuer), IoResult());
  EXPECT_EQ(rig.write(0, 'd'), whole_block);
}

// The case of the review of 2023: end_io takes the mutex and starts I/O, its own thread is outside
// the library, and another one drains the file.
TEST(ZoneFile, IsResetWhileTheRecoveryBelongsToAThreadBlockedElsewhere) {
  ZoneRig rig;
  rig.device.fail(BioOp::write, data_addr);
  std::mutex door;
  std::unique_lock closed(door);
  std::latch submitted{1};
  std::thread other([&] {
    const auto issuer = make_issuer();
    value_of(issuer->attach(rig.device));
    Block a('a');
    Block b('b');
    a.submit(*issuer, *rig.zone, 0);
    b.submit(*issuer, *rig.zone, 4096, dsync);
    submitted.count_down();
    // ThreadSanitizer delivers signals only where a thread calls something.
    while (!door.try_lock())
      ::poll(nullptr, 0, 0);
    door.unlock();
    EXPECT_FALSE(a.delivered);
    deliver_all(*issuer);
    EXPECT_EQ(a.result, FailingDevice::failure());
    EXPECT_EQ(b.result, FailingDevice::failure());
  });
  submitted.wait();
  EXPECT_EQ(rig.zone->reset(*rig.issuer), IoResult());
  EXPECT_EQ(rig.status().recoveries, 1U);
  EXPECT_GE(rig.issuer->stats().adopted, 2U);
  EXPECT_EQ(rig.write(0, 'c'), whole_block);
  closed.unlock();
  other.join();
  EXPECT_EQ(rig.blocks(), "c");
}

// --- several threads ---

TEST(ZoneFile, KeepsWhatSeveralThreadsAppend) {
  ZoneRig rig({.volatile_cache = true});
  constexpr int threads_count = 4;
  constexpr int each = 16;
  std::vector<std::string> placed(threads_count, std::string(64, '.'));
  std::vector<std::thread> threads;
  for (int t = 0; t < threads_count; ++t) {
    threads.emplace_back([&, t] {
      const auto issuer = make_issuer();
      const char with = static_cast<char>('a' + t);
      std::vector<std::unique_ptr<Block>> blocks;
      for (int i = 0; i < each; ++i) {
        blocks.push_back(std::make_unique<Block>(with));
        blocks.back()->submit(*issuer, *rig.zone, 0, i % 3 == 0 ? append : append | dsync);
        if (i % 4 == 3) issuer->wait();
      }
      deliver_all(*issuer);
      for (const auto& block : blocks) {
        EXPECT_EQ(block->result, whole_block);
        placed[static_cast<unsigned>(t)][block->ki_pos / 4096] = with;
      }
    });
  }
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(rig.zone->sync(*rig.issuer), IoResult());
  for (std::thread& thread : threads)
    thread.join();
  std::string expected(64, '.');
  for (const std::string& of_thread : placed) {
    for (unsigned i = 0; i < 64; ++i)
      if (of_thread[i] != '.') expected[i] = of_thread[i];
  }
  EXPECT_EQ(rig.blocks(), expected);
  EXPECT_EQ(rig.zone->sync(*rig.issuer), IoResult());
  rig.reopen();
  EXPECT_EQ(rig.blocks(), expected);
}

// Writers, failures, resets and finishes at once: everything ends, and the zone can be used.
TEST(ZoneFile, OutlivesFailuresAndResetsBetweenWritersOfSeveralThreads) {
  ZoneRig rig({.volatile_cache = true, .fua = true});
  rig.device.fail_every(7, zone_addr);
  std::atomic<bool> stop{false};
  std::atomic<unsigned> written{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      const auto issuer = make_issuer();
      std::vector<std::unique_ptr<Block>> blocks;
      for (int i = 0; i < 8; ++i)
        blocks.push_back(std::make_unique<Block>(static_cast<char>('a' + t)));
      while (!stop) {
        for (unsigned i = 0; i < blocks.size(); ++i)
          blocks[i]->submit(*issuer, *rig.zone, 0, i % 2 == 0 ? append : append | dsync);
        deliver_all(*issuer);
        for (const auto& block : blocks) {
          const IoResult& result = block->result;
          if (result.ok()) ++written;
          EXPECT_TRUE(result == whole_block || result == FailingDevice::failure() ||
                      result.code() == Errc::busy || result.code() == Errc::no_space)
              << describe(result);
        }
      }
    });
  }
  while (written < 500) {
    EXPECT_EQ(rig.zone->reset(*rig.issuer), IoResult());
    EXPECT_EQ(rig.zone->sync(*rig.issuer), IoResult());
    EXPECT_EQ(rig.zone->finish(*rig.issuer), IoResult());
    std::this_thread::yield();
    EXPECT_EQ(rig.zone->reset(*rig.issuer), IoResult());
    std::this_thread::yield();
  }
  stop = true;
  for (std::thread& thread : threads)
    thread.join();
  rig.device.fail_every(0, 0);
  EXPECT_GT(rig.status().recoveries, 0U);
  EXPECT_EQ(rig.zone->reset(*rig.issuer), IoResult());
  EXPECT_EQ(rig.status().state, ZoneState::open);
  EXPECT_EQ(rig.write(0, 'z', dsync), whole_block);
  rig.reopen();
  EXPECT_EQ(rig.blocks(), "z");
}

// --- on the device ---

TEST(ZoneFile, RefusesWhatIsNoZone) {
  ZoneRig rig;
  const auto code_of = [](const auto& result) { return result ? Errc::ok : result.error().code(); };
  const auto open = [&](std::uint64_t addr, std::uint64_t bytes) {
    return code_of(ZoneFile::open(*rig.issuer, rig.device, {.addr = addr, .zone_bytes = bytes}));
  };
  EXPECT_EQ(open(zone_addr, zone_bytes), Errc::ok);
  EXPECT_EQ(open(zone_addr, zone_bytes - 4096), Errc::damaged);
  EXPECT_EQ(open(0, zone_bytes), Errc::damaged);
  EXPECT_EQ(open(zone_addr + 512, zone_bytes), Errc::invalid);
  EXPECT_EQ(open(zone_addr, 4096), Errc::invalid);
  EXPECT_EQ(open(64U << 20, zone_bytes), Errc::invalid);
  rig.device.fail(BioOp::read, zone_addr);
  EXPECT_EQ(open(zone_addr, zone_bytes), Errc::io);
}

TEST(ZoneHeader, IsReadBackAndNoBitOfItCanChangeUnnoticed) {
  const ZoneHeader header{
      .generation = 3, .zone_bytes = 65536, .write_pointer = 8192, .finished = true};
  std::vector<std::byte> block(4096);
  encode_zone_header(header, block);
  EXPECT_EQ(decode_zone_header(block), header);
  for (std::size_t bit = 0; bit < 48 * 8; ++bit) {
    block[bit / 8] ^= std::byte{1} << bit % 8;
    EXPECT_EQ(decode_zone_header(block), std::nullopt) << bit;
    block[bit / 8] ^= std::byte{1} << bit % 8;
  }
  EXPECT_EQ(decode_zone_header(std::span(block).first(512)), std::nullopt);
}

// --- planted mistakes ---

// Takes the mutex for every read, too, and does not say so.
class LocksOnReads : public ZoneFile {
 public:
  explicit LocksOnReads(BlockDevice& device, const HandlerContract& contract = usual_contract())
      : ZoneFile(device, range, {.generation = 1, .zone_bytes = zone_bytes}, contract) {}

 private:
  Outcome end_io(Kiocb& kiocb, const DioEnd& end) noexcept override {
    if (!kiocb.is_write()) {
      const std::lock_guard guard(mutex());
      ++reads_;
    }
    return ZoneFile::end_io(kiocb, end);
  }
  std::uint64_t reads_ = 0;
};

// Reads its state again where it stands, and waits for it.
class WaitsOnErrors : public ZoneFile {
 public:
  explicit WaitsOnErrors(BlockDevice& device)
      : ZoneFile(device, range, {.generation = 1, .zone_bytes = zone_bytes}, usual_contract()),
        device_(device) {}

 private:
  Outcome end_io(Kiocb& kiocb, const DioEnd& end) noexcept override {
    if (!end.result.ok()) {
      const AlignedBuffer state(block_bytes);
      BioGroup reading(*kiocb.issuer, device_);
      reading.read(zone_addr, state.span());
      static_cast<void>(reading.run_and_wait());
    }
    return ZoneFile::end_io(kiocb, end);
  }
  BlockDevice& device_;
};

template <typename Zone>
void write_and_read(Zone& zone, ZoneRig& rig) {
  static_cast<void>(write(*rig.issuer, zone, 0, 'a'));
  static_cast<void>(blocks_of(*rig.issuer, zone));
}

class ZoneFileDeathTest : public ThreadedDeathTest {};

TEST_F(ZoneFileDeathTest, AMutexTakenWhereItWasNotDeclaredIsCaught) {
  EXPECT_DEATH(
      {
        ZoneRig rig;
        LocksOnReads zone(rig.device);
        write_and_read(zone, rig);
      },
      "contract violated: device context locks no mutex\n(.*\n)*"
      "  handler:   zone file, which declares nothing\n");
}

TEST_F(ZoneFileDeathTest, AMutexTakenWhereItWasDeclaredIsNot) {
  ZoneRig rig;
  LocksOnReads zone(rig.device, {.name = "zone file", .pure = Acts::lock});
  write_and_read(zone, rig);
  EXPECT_EQ(rig.issuer->stats().by_reason[static_cast<unsigned>(RouteReason::handler_needs)], 1U);
}

TEST_F(ZoneFileDeathTest, ARecoveryThatWaitsIsCaught) {
  EXPECT_DEATH(
      {
        ZoneRig rig;
        WaitsOnErrors zone(rig.device);
        rig.device.fail(BioOp::write, data_addr);
        write_and_read(zone, rig);
      },
      "contract violated: only task and worker context wait for I/O");
}

}  // namespace
}  // namespace examples::testing
