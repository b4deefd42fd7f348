// A mirror clones requests so that no result is lost and no drain of a leg hangs on it, reads what
// either leg can give, and drops a leg that missed a write.
#include "mirror_file/mirror_file.h"

#include <poll.h>

#include <atomic>
#include <latch>
#include <mutex>
#include <thread>

#include "examples_test_support.h"
#include "zone_file/zone_file.h"

namespace examples::testing {
namespace {

using namespace handback;

constexpr ZoneRange zone{.addr = 0, .zone_bytes = 65 * std::uint64_t{block_bytes}};
constexpr std::uint64_t data_addr = block_bytes;
constexpr KiocbFlags dsync = KiocbFlags::dsync;

struct Leg {
  std::unique_ptr<BlockDevice> memory = make_memory_device({.size_bytes = 1U << 20});
  FailingDevice device{*memory};
};

// Over two devices: overwrites, whose clones end where their bios do.
struct DeviceMirror {
  Leg legs[2];
  std::unique_ptr<File> files[2] = {make_device_file(legs[0].device),
                                    make_device_file(legs[1].device)};
  std::unique_ptr<Issuer> issuer = make_issuer();
  MirrorFile mirror{*files[0], *files[1]};

  IoResult write(std::uint64_t offset, char with, KiocbFlags flags = KiocbFlags::none) {
    return testing::write(*issuer, mirror, offset, with, flags);
  }
  // The first byte at `offset`, as many times as there are legs, or '!'.
  std::string read_twice(std::uint64_t offset) { return read(offset) + read(offset); }
  std::string read(std::uint64_t offset) {
    AlignedBuffer block(block_bytes);
    Aiocb read;
    read.prepare_read(mirror, offset, block.span());
    if (!issuer->run(read).ok()) return "!";
    return {static_cast<char>(block.data()[0])};
  }
  std::string read_leg(unsigned leg, std::uint64_t offset) {
    AlignedBuffer block(block_bytes);
    Aiocb read;
    read.prepare_read(*files[leg], offset, block.span());
    return issuer->run(read).ok() ? std::string{static_cast<char>(block.data()[0])} : "!";
  }
};

// Over two zones: every write of a leg is handed back.
struct ZoneMirror {
  Leg legs[2];
  std::unique_ptr<Issuer> issuer = make_issuer();
  std::unique_ptr<ZoneFile> zones[2] = {value_of(ZoneFile::create(*issuer, legs[0].device, zone)),
                                        value_of(ZoneFile::create(*issuer, legs[1].device, zone))};
  MirrorFile mirror{*zones[0], *zones[1]};
};

// --- writes ---

TEST(MirrorFile, WritesToBothLegsAndReadsFromEach) {
  DeviceMirror rig;
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  EXPECT_EQ(rig.write(4096, 'b', dsync), whole_block);
  for (const unsigned leg : {0U, 1U})
    EXPECT_EQ(rig.read_leg(leg, 0) + rig.read_leg(leg, 4096), "ab");
  EXPECT_EQ(rig.read_twice(4096), "bb");
  const MirrorStats stats = rig.mirror.stats();
  EXPECT_EQ(stats.writes, (std::array<std::uint64_t, 2>{2, 2}));
  EXPECT_EQ(stats.reads, (std::array<std::uint64_t, 2>{1, 1}));
  EXPECT_FALSE(rig.mirror.degraded());
}

TEST(MirrorFile, TellsTheRouteOfWhatEndedLast) {
  DeviceMirror rig;
  Block block('a');
  block.submit(*rig.issuer, rig.mirror, 0);
  deliver_all(*rig.issuer);
  EXPECT_EQ(block.routed(), (RouteDecision{Route::inline_, RouteReason::pure_overwrite}));
  ZoneMirror zones;
  block.submit(*zones.issuer, zones.mirror, 0, dsync);
  deliver_all(*zones.issuer);
  EXPECT_EQ(block.result, whole_block);
  EXPECT_EQ(block.routed(), (RouteDecision{Route::issuer, RouteReason::extending}));
  block.submit(*zones.issuer, zones.mirror, 0);
  deliver_all(*zones.issuer);
  EXPECT_EQ(block.result, IoResult::failure(Errc::invalid, IoDetail::offset_not_next));
  EXPECT_EQ(block.routed(), (RouteDecision{Route::submit, RouteReason::error}));
  // What both legs refuse is no reason to doubt one.
  EXPECT_FALSE(zones.mirror.degraded());
}

TEST(MirrorFile, EndsOnceWhenBothLegsHaveEnded) {
  DeviceMirror rig;
  Block block('a');
  rig.legs[1].device.hold(true);
  block.submit(*rig.issuer, rig.mirror, 0);
  for (int i = 0; i < 10; ++i)
    rig.issuer->poll();
  EXPECT_FALSE(block.delivered);
  rig.legs[1].device.let_go();
  deliver_all(*rig.issuer);
  EXPECT_EQ(block.result, whole_block);
  EXPECT_EQ(rig.issuer->stats().delivered, 1U);
}

// The capability is the mirror's own.
TEST(MirrorFile, HasItsClonesHandedBackWhateverTheUpperRequestAskedFor) {
  ZoneMirror rig;
  Block block('a');
  block.prepare_write(rig.mirror, 0, block.data.span(), dsync);
  block.ki_flags &= ~KiocbFlags::dio_defer;
  EXPECT_EQ(rig.issuer->run(block), whole_block);
  EXPECT_EQ(block.routed(), (RouteDecision{Route::issuer, RouteReason::extending}));
}

TEST(MirrorFile, ServesSynchronousCallers) {
  ZoneMirror rig;
  Kiocb kiocb;
  AlignedBuffer data = filled('a');
  EXPECT_EQ(run_sync(kiocb, *rig.issuer, rig.mirror, 0, data.span(), KiocbFlags::write | dsync),
            whole_block);
  EXPECT_EQ(kiocb.route, Route::waiter);
  EXPECT_EQ(kiocb.route_reason, RouteReason::sync_caller);
  EXPECT_EQ(rig.zones[1]->status().durable_bytes, 4096U);
  rig.legs[0].device.fail(BioOp::read, data_addr);
  for (int turn = 0; turn < 2; ++turn) {
    EXPECT_EQ(run_sync(kiocb, *rig.issuer, rig.mirror, 0, data.span(), KiocbFlags::none),
              whole_block);
  }
  EXPECT_EQ(rig.mirror.stats().reads_retried, 1U);
}

TEST(MirrorFile, RefusesWhatItsLegsCouldTakeDifferently) {
  DeviceMirror rig;
  const auto refused = [](Errc code, IoDetail detail) { return IoResult::failure(code, detail); };
  EXPECT_EQ(rig.write(0, 'a', KiocbFlags::append),
            refused(Errc::not_supported, IoDetail::flag_append));
  EXPECT_EQ(rig.write(0, 'a', KiocbFlags::nowait),
            refused(Errc::not_supported, IoDetail::flag_nowait));
  Block block('a');
  block.prepare_read(rig.mirror, 0, block.data.span());
  block.ki_flags |= KiocbFlags::waitq;
  block.ki_flags &= ~KiocbFlags::dio_defer;
  EXPECT_EQ(rig.issuer->run(block), refused(Errc::invalid, IoDetail::flag_waitq));
  EXPECT_EQ(rig.mirror.stats().writes, (std::array<std::uint64_t, 2>{0, 0}));
}

TEST(MirrorFile, UsesItsRecordsAgain) {
  DeviceMirror rig;
  std::vector<std::unique_ptr<Block>> blocks;
  for (int i = 0; i < 8; ++i)
    blocks.push_back(std::make_unique<Block>('a'));
  for (int turn = 0; turn < 10; ++turn) {
    for (unsigned i = 0; i < blocks.size(); ++i)
      blocks[i]->submit(*rig.issuer, rig.mirror, i * 4096ULL);
    deliver_all(*rig.issuer);
  }
  EXPECT_EQ(rig.mirror.stats().requests_growths, 8U);
}

// --- failures ---

TEST(MirrorFile, DropsALegThatMissedAWriteAndReadsFromItNoMore) {
  DeviceMirror rig;
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  rig.legs[1].device.fail(BioOp::write, 0);
  EXPECT_EQ(rig.write(0, 'b'), whole_block);
  EXPECT_TRUE(rig.mirror.degraded());
  EXPECT_TRUE(rig.mirror.in_service(0));
  EXPECT_FALSE(rig.mirror.in_service(1));
  EXPECT_EQ(rig.read_leg(1, 0), "a");
  EXPECT_EQ(rig.read_twice(0), "bb");
  EXPECT_EQ(rig.write(4096, 'c'), whole_block);
  const MirrorStats stats = rig.mirror.stats();
  EXPECT_EQ(stats.writes, (std::array<std::uint64_t, 2>{3, 2}));
  EXPECT_EQ(stats.write_errors, (std::array<std::uint64_t, 2>{0, 1}));
  EXPECT_EQ(stats.reads, (std::array<std::uint64_t, 2>{2, 0}));
}

TEST(MirrorFile, FailsAWriteThatNoLegTookAndLetsOneLegSayWhatIsTrue) {
  DeviceMirror rig;
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  rig.legs[0].device.fail(BioOp::write, 0);
  rig.legs[1].device.fail(BioOp::write, 0);
  EXPECT_EQ(rig.write(0, 'b'), FailingDevice::failure());
  EXPECT_TRUE(rig.mirror.degraded());
  EXPECT_TRUE(rig.mirror.in_service(0) || rig.mirror.in_service(1));
  EXPECT_EQ(rig.read_twice(0), "aa");
  // The last one stays, and says so itself.
  for (Leg& leg : rig.legs)
    leg.device.fail(BioOp::write, 0);
  EXPECT_EQ(rig.write(0, 'c'), FailingDevice::failure());
  EXPECT_TRUE(rig.mirror.in_service(0) || rig.mirror.in_service(1));
}

// Two writes at once, each with another leg that fails: one of them is where nobody will read.
TEST(MirrorFile, CountsAWriteOnlyInALegThatIsInService) {
  DeviceMirror rig;
  Block a('a');
  Block b('b');
  for (Leg& leg : rig.legs)
    leg.device.hold(true);
  a.submit(*rig.issuer, rig.mirror, 0);
  b.submit(*rig.issuer, rig.mirror, 4096);
  for (Leg& leg : rig.legs)
    leg.device.hold(false);
  rig.legs[0].device.let_go(0, true);
  rig.legs[0].device.let_go(0);
  rig.legs[1].device.let_go(0);
  while (!a.delivered)
    rig.issuer->poll();
  rig.legs[1].device.let_go(0, true);
  deliver_all(*rig.issuer);
  EXPECT_EQ(a.result, whole_block);
  EXPECT_EQ(b.result, FailingDevice::failure());
  EXPECT_TRUE(rig.mirror.in_service(1));
  EXPECT_FALSE(rig.mirror.in_service(0));
}

TEST(MirrorFile, ReadsFromTheOtherLegWhatOneCannotGive) {
  DeviceMirror rig;
  EXPECT_EQ(rig.write(0, 'a'), whole_block);
  rig.legs[0].device.fail(BioOp::read, 0, 2);
  EXPECT_EQ(rig.read_twice(0) + rig.read_twice(0), "aaaa");
  EXPECT_EQ(rig.mirror.stats().reads_retried, 2U);
  EXPECT_EQ(rig.mirror.stats().read_errors, (std::array<std::uint64_t, 2>{2, 0}));
  EXPECT_FALSE(rig.mirror.degraded());
  rig.legs[0].device.fail(BioOp::read, 0);
  rig.legs[1].device.fail(BioOp::read, 0);
  EXPECT_EQ(rig.read(0), "!");
  EXPECT_EQ(rig.read_twice(0), "aa");
}

// Its legs' failures are errors of zones with a recovery of their own.
TEST(MirrorFile, GoesOnWhileALegRecovers) {
  ZoneMirror rig;
  rig.legs[0].device.fail(BioOp::write, data_addr);
  EXPECT_EQ(write(*rig.issuer, rig.mirror, 0, 'a', dsync), whole_block);
  EXPECT_FALSE(rig.mirror.in_service(0));
  EXPECT_EQ(rig.zones[0]->status().recoveries, 1U);
  EXPECT_EQ(write(*rig.issuer, rig.mirror, 4096, 'b', dsync), whole_block);
  EXPECT_EQ(blocks_of(*rig.issuer, rig.mirror), "ab");
}

// --- drains ---

TEST(MirrorFile, ALegIsDrainedByTheThreadWhoseRequestsAreInFlight) {
  ZoneMirror rig;
  Block blocks[4] = {Block('a'), Block('b'), Block('c'), Block('d')};
  for (std::uint64_t i = 0; i < 4; ++i)
    blocks[i].submit(*rig.issuer, rig.mirror, i * 4096, i == 3 ? dsync : KiocbFlags::none);
  EXPECT_EQ(rig.zones[0]->finish(*rig.issuer), IoResult());
  EXPECT_EQ(rig.zones[0]->status().size_bytes, 4 * 4096U);
  EXPECT_FALSE(blocks[0].delivered);
  deliver_all(*rig.issuer);
  for (const Block& block : blocks)
    EXPECT_EQ(block.result, whole_block);
}

// The clones are handed back to an issuer whose thread is outside the library; who drains the leg
// settles them there, and what is left of the upper requests, too.
TEST(MirrorFile, ALegIsDrainedWhileTheIssuerIsBlockedElsewhere) {
  ZoneMirror rig;
  rig.legs[1].device.fail(BioOp::write, data_addr + 4096);
  std::mutex door;
  std::unique_lock closed(door);
  std::latch submitted{1};
  std::thread other([&] {
    const auto issuer = make_issuer();
    for (Leg& leg : rig.legs)
      value_of(issuer->attach(leg.device));
    Block a('a');
    Block b('b');
    a.submit(*issuer, rig.mirror, 0, dsync);
    b.submit(*issuer, rig.mirror, 4096);
    submitted.count_down();
    // ThreadSanitizer delivers signals only where a thread calls something.
    while (!door.try_lock())
      ::poll(nullptr, 0, 0);
    door.unlock();
    EXPECT_FALSE(a.delivered);
    deliver_all(*issuer);
    EXPECT_EQ(a.result, whole_block);
    EXPECT_EQ(b.result, whole_block);
  });
  submitted.wait();
  EXPECT_EQ(rig.zones[0]->finish(*rig.issuer), IoResult());
  EXPECT_EQ(rig.zones[1]->reset(*rig.issuer), IoResult());
  EXPECT_EQ(rig.zones[0]->status().size_bytes, 8192U);
  EXPECT_GE(rig.issuer->stats().adopted, 2U);
  closed.unlock();
  other.join();
  EXPECT_TRUE(rig.mirror.in_service(0));
  EXPECT_FALSE(rig.mirror.in_service(1));
  EXPECT_EQ(blocks_of(*rig.issuer, rig.mirror), "ab");
}

// Files of volumes, which know nothing of any mirror.
TEST(MirrorFile, MirrorsFilesOfVolumesThatAreTruncatedMeanwhile) {
  const auto issuer = make_issuer();
  std::unique_ptr<BlockDevice> devices[2];
  std::unique_ptr<Volume> volumes[2];
  for (int i = 0; i < 2; ++i) {
    devices[i] = make_memory_device();
    value_of(Volume::format(*issuer, *devices[i]));
    volumes[i] = value_of(Volume::open(*issuer, *devices[i]));
  }
  auto first = value_of(volumes[0]->open_file(*issuer, "/leg", {.create = true}));
  auto second = value_of(volumes[1]->open_file(*issuer, "/leg", {.create = true}));
  {
    MirrorFile mirror(*first, *second);
    std::atomic<bool> stop{false};
    std::thread writer([&] {
      const auto own = make_issuer();
      std::vector<std::unique_ptr<Block>> blocks;
      for (int i = 0; i < 8; ++i)
        blocks.push_back(std::make_unique<Block>('a'));
      do {
        for (unsigned i = 0; i < blocks.size(); ++i)
          blocks[i]->submit(*own, mirror, i * 4096ULL, i % 2 == 0 ? KiocbFlags::none : dsync);
        deliver_all(*own);
        for (const auto& block : blocks)
          EXPECT_EQ(block->result, whole_block);
      } while (!stop);
    });
    for (int i = 0; i < 50; ++i) {
      value_of(first->truncate(*issuer, 0));
      value_of(second->truncate(*issuer, 4096));
    }
    stop = true;
    writer.join();
    EXPECT_FALSE(mirror.degraded());
  }
  first.reset();
  second.reset();
  for (auto& volume : volumes)
    value_of(volume->close(*issuer));
}

// --- several threads ---

TEST(MirrorFile, ServesSeveralThreadsWhileALegFails) {
  DeviceMirror rig;
  rig.legs[0].device.fail_every(101, ~0ULL);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const auto issuer = make_issuer();
      std::vector<std::unique_ptr<Block>> blocks;
      for (int i = 0; i < 8; ++i)
        blocks.push_back(std::make_unique<Block>(static_cast<char>('a' + t)));
      const auto place = [&](unsigned i) { return (static_cast<unsigned>(t) * 8 + i) * 4096ULL; };
      for (int turn = 0; turn < 50; ++turn) {
        for (unsigned i = 0; i < blocks.size(); ++i)
          blocks[i]->submit(*issuer, rig.mirror, place(i));
        deliver_all(*issuer);
        for (unsigned i = 0; i < blocks.size(); ++i) {
          EXPECT_EQ(blocks[i]->result, whole_block);
          blocks[i]->prepare_read(rig.mirror, place(i), blocks[i]->data.span());
          EXPECT_EQ(issuer->run(*blocks[i]), whole_block);
          EXPECT_EQ(static_cast<char>(blocks[i]->data.data()[0]), static_cast<char>('a' + t));
        }
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_FALSE(rig.mirror.in_service(0));
  EXPECT_GE(rig.mirror.stats().write_errors[0], 1U);
}

// --- a planted mistake ---

// Clones as was done where the flags were copied with everything else, and what a completion says
// was taken for a number: "not final" is 0 then.
class BlindMirror final : public File {
 public:
  BlindMirror(File& first, File& second) : legs_{&first, &second} {}

  Outcome read_iter(Kiocb& kiocb, IovView to) noexcept override {
    return legs_[0]->read_iter(kiocb, to);
  }
  Outcome write_iter(Kiocb& kiocb, IovView from) noexcept override {
    upper_ = &kiocb;
    left_ = 2;
    for (unsigned leg = 0; leg < 2; ++leg) {
      clones_[leg].init_clone(kiocb, *legs_[leg]);
      clones_[leg].ki_flags = kiocb.ki_flags;
      clones_[leg].mirror = this;
      clones_[leg].ki_complete = [](Kiocb& clone, Outcome outcome) noexcept {
        BlindMirror& mirror = *static_cast<Clone&>(clone).mirror;
        const IoResult result = outcome.is_final() ? outcome.result() : IoResult::success(0);
        if (--mirror.left_ == 0) mirror.upper_->ki_complete(*mirror.upper_, result);
      };
      static_cast<void>(legs_[leg]->write_iter(clones_[leg], from));
    }
    return NotFinal{};
  }

 private:
  struct Clone : Kiocb {
    BlindMirror* mirror = nullptr;
  };
  File* legs_[2];
  Kiocb* upper_ = nullptr;
  int left_ = 0;
  Clone clones_[2];
};

// Whether a write is acknowledged with its result, and is in both legs then.
template <typename Mirror>
bool keeps_results() {
  // Never destroyed: what was lost is still in flight, and its file would say so first.
  auto& rig = *new ZoneMirror();
  auto& mirror = *new Mirror(*rig.zones[0], *rig.zones[1]);
  auto& block = *new Block('a');
  block.submit(*rig.issuer, mirror, 0);
  rig.issuer->wait();
  return block.result == whole_block && rig.zones[0]->status().size_bytes == 4096 &&
         rig.zones[1]->status().size_bytes == 4096;
}

class MirrorFileDeathTest : public ThreadedDeathTest {};

TEST_F(MirrorFileDeathTest, KeepsWhatACopyOfAllFlagsLoses) {
  EXPECT_EXIT(::_exit(keeps_results<MirrorFile>() ? 0 : 1), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(::_exit(keeps_results<BlindMirror>() ? 0 : 1), ::testing::ExitedWithCode(1), "");
}

TEST_F(MirrorFileDeathTest, GoesOnlyWhenNothingIsInFlight) {
  EXPECT_DEATH(
      {
        DeviceMirror rig;
        Block block('a');
        auto mirror = std::make_unique<MirrorFile>(*rig.files[0], *rig.files[1]);
        block.submit(*rig.issuer, *mirror, 0);
        mirror.reset();
      },
      "a mirror goes only when none of its requests is in flight");
}

}  // namespace
}  // namespace examples::testing
