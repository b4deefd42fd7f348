// Bios that end on other threads: on one that the test controls, and on the pool of a host device.
#include <handback/host_device.h>

#include <thread>

#include "dio/dio_test_support.h"
#include "ring/test_files.h"

namespace handback::testing {
namespace {

class DioForeign : public ::testing::Test {
 protected:
  DioForeign() {
    rig_.file.map(0, 65536, 0);
    rig_.file.size = 65536;
    rig_.device.hold(true);
  }
  void end_elsewhere(IoResult fault = IoResult::success(0)) {
    std::thread([&] {
      while (rig_.device.held_count() != 0)
        rig_.device.end_here(0, fault);
    }).join();
  }

  FakeRig rig_;
  AlignedBuffer buffer_ = random_buffer(4096, 1);
};

TEST_F(DioForeign, SettlesAnOverwriteWhereItsLastBioEndedAndDeliversItHere) {
  TestAiocb aiocb;
  std::thread::id delivered_on;
  aiocb.on_delivered = [&] { delivered_on = std::this_thread::get_id(); };
  aiocb.prepare_write_of(rig_.file, 0, buffer_.span());
  rig_.issuer->submit(aiocb);
  end_elsewhere();
  // Settled already, though the issuer has not looked.
  EXPECT_EQ(rig_.file.inflight.count(), 0U);
  ASSERT_EQ(rig_.file.ended.size(), 1U);
  EXPECT_NE(rig_.file.ended[0].thread, std::this_thread::get_id());
  EXPECT_EQ(rig_.file.ended[0].context, Context::device);
  EXPECT_EQ(aiocb.delivered, 0U);
  EXPECT_EQ(rig_.issuer->wait(), 1U);
  EXPECT_EQ(delivered_on, std::this_thread::get_id());
  EXPECT_EQ(aiocb.result, IoResult::success(4096));
  EXPECT_EQ(aiocb.route, Route::inline_);
  EXPECT_EQ(aiocb.route_reason, RouteReason::pure_overwrite);
}

TEST_F(DioForeign, HandsAnExtensionBackToTheIssuersThread) {
  rig_.file.size = 0;
  TestAiocb aiocb;
  aiocb.prepare_write_of(rig_.file, 0, buffer_.span());
  rig_.issuer->submit(aiocb);
  end_elsewhere();
  EXPECT_TRUE(rig_.file.ended.empty());
  EXPECT_EQ(rig_.file.inflight.count(), 1U);
  EXPECT_EQ(rig_.issuer->wait(), 1U);
  ASSERT_EQ(rig_.file.ended.size(), 1U);
  EXPECT_EQ(rig_.file.ended[0].thread, std::this_thread::get_id());
  EXPECT_EQ(rig_.file.ended[0].context, Context::issuer);
  EXPECT_EQ(aiocb.route, Route::issuer);
  EXPECT_EQ(aiocb.route_reason, RouteReason::extending);
}

TEST_F(DioForeign, HandsAnErrorBackToTheIssuersThread) {
  TestAiocb aiocb;
  aiocb.prepare_read_of(rig_.file, 0, buffer_.span());
  rig_.issuer->submit(aiocb);
  end_elsewhere(IoResult::host_failure(EIO));
  EXPECT_TRUE(rig_.file.ended.empty());
  EXPECT_EQ(rig_.issuer->wait(), 1U);
  EXPECT_EQ(aiocb.result, IoResult::host_failure(EIO));
  EXPECT_EQ(rig_.file.ended[0].thread, std::this_thread::get_id());
}

TEST_F(DioForeign, WakesASynchronousCaller) {
  std::thread other([&] {
    rig_.device.wait_for_held(1);
    rig_.device.end_here();
  });
  EXPECT_EQ(rig_.read_sync_caller(0, buffer_.span()), IoResult::success(4096));
  other.join();
  ASSERT_EQ(rig_.file.ended.size(), 1U);
  EXPECT_EQ(rig_.file.ended[0].thread, std::this_thread::get_id());
  EXPECT_EQ(rig_.file.ended[0].context, Context::task);
}

TEST_F(DioForeign, LetsARequestInLineStartOnItsOwnIssuer) {
  TestAiocb first;
  TestAiocb second;
  first.prepare_write_of(rig_.file, 0, buffer_.span().first(512));
  second.prepare_write_of(rig_.file, 512, buffer_.span().first(512));
  rig_.issuer->submit(first);
  rig_.issuer->submit(second);
  end_elsewhere();
  EXPECT_EQ(rig_.device.seen.size(), 1U);  // Device context submits nothing.
  rig_.device.hold(false);
  while (rig_.issuer->in_flight() != 0)
    rig_.issuer->wait();
  EXPECT_EQ(rig_.device.seen.size(), 2U);
  EXPECT_EQ(second.result, IoResult::success(512));
}

// Bios of one request race on several threads; each error and each end is counted.
TEST(DioForeignRace, SettlesOnceWhenBiosEndOnSeveralThreadsAtOnce) {
  constexpr unsigned rounds = 300;
  Geometry geometry = FakeDevice::default_geometry();
  geometry.transfer_bytes_max = 512;
  FakeRig rig(geometry);
  rig.file.map(0, 4096, 0);
  rig.file.size = 4096;
  rig.device.hold(true);
  std::atomic<unsigned> round_open{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  std::mutex take;
  std::atomic<unsigned> left{0};
  for (unsigned i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        bool mine = false;
        {
          const std::lock_guard guard(take);
          mine = left.load() != 0;
          if (mine) left.fetch_sub(1);
        }
        if (!mine) {
          std::this_thread::yield();
          continue;
        }
        // Every second request has two bios that fail.
        const bool failing = round_open.load() % 2 == 1;
        const bool last_of_device = left.load() < 2;
        rig.device.end_here(
            0, failing && last_of_device ? IoResult::host_failure(EIO) : IoResult::success(0));
      }
    });
  }
  AlignedBuffer buffer(4096);
  for (unsigned round = 0; round < rounds; ++round) {
    TestAiocb aiocb;
    aiocb.prepare_read_of(rig.file, 0, buffer.span());
    round_open.store(round);
    rig.issuer->submit(aiocb);
    ASSERT_EQ(rig.device.held_count(), 8U);
    left.store(8);
    while (rig.issuer->in_flight() != 0)
      rig.issuer->wait();
    ASSERT_EQ(aiocb.delivered, 1U);
    ASSERT_EQ(rig.file.ended.size(), round + 1);
    ASSERT_EQ(rig.file.inflight.count(), 0U);
    if (round % 2 == 0) {
      ASSERT_EQ(aiocb.result, IoResult::success(4096));
    } else {
      ASSERT_EQ(aiocb.result.code(), Errc::io);
      ASSERT_EQ(aiocb.result.host_errno(), EIO);
    }
  }
  stop.store(true);
  for (auto& thread : threads)
    thread.join();
  EXPECT_EQ(rig.issuer->stats().pool_growths, 0U);
}

// --- the host's thread pool ---

class DioOnHostThreads : public ::testing::Test {
 protected:
  static constexpr std::uint64_t device_bytes = 1U << 20;

  DioOnHostThreads() {
    make_file(folder_.file("device"), device_bytes);
    HostDeviceOptions options;
    options.engine = HostEngine::threads;
    options.threads = 3;
    options.notice = [](std::string_view) {};
    device_ = value_of(open_host_device(folder_.file("device"), options));
    block_ = device_->geometry().logical_block_bytes;
  }

  TempFolder folder_;
  std::unique_ptr<BlockDevice> device_;
  std::uint32_t block_ = 0;
};

TEST_F(DioOnHostThreads, RoutesAndSettlesAsPromised) {
  EXPECT_EQ(host_engine_name(*device_), "threads");
  DioRig rig(*device_);
  rig.file.map(0, 65536, 0, IomapType::unwritten);
  const AlignedBuffer data = random_buffer(65536, 2);
  EXPECT_EQ(rig.write(0, data.span()), IoResult::success(65536));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::issuer, RouteReason::extending}));
  EXPECT_EQ(rig.file.ended.back().thread, std::this_thread::get_id());
  EXPECT_EQ(rig.file.ended.back().context, Context::issuer);

  EXPECT_EQ(rig.write(4096, data.span().first(4096)), IoResult::success(4096));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::inline_, RouteReason::pure_overwrite}));
  EXPECT_NE(rig.file.ended.back().thread, std::this_thread::get_id());
  EXPECT_EQ(rig.file.ended.back().context, Context::device);

  AlignedBuffer back(65536);
  EXPECT_EQ(rig.read(0, back.span()), IoResult::success(65536));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::inline_, RouteReason::read_ok}));
  EXPECT_EQ(rig.file.ended.back().context, Context::device);
  std::vector<std::byte> expected = copy_of(data.span());
  std::memcpy(expected.data() + 4096, data.data(), 4096);
  EXPECT_TRUE(same_bytes(copy_of(back.span()), expected));
  EXPECT_EQ(rig.issuer->stats().foreign, 3U);
}

TEST_F(DioOnHostThreads, FlushesFromWorkThatTheIssuerRuns) {
  const auto file = make_device_file(*device_);
  DioRig rig(*device_);
  AlignedBuffer data = random_buffer(4096, 3);
  Aiocb aiocb;
  for (const KiocbFlags flag : {KiocbFlags::dsync, KiocbFlags::sync}) {
    aiocb.prepare_write(*file, 0, data.span(), flag);
    EXPECT_EQ(rig.run(aiocb), IoResult::success(4096));
  }
  EXPECT_EQ(rig.routed, (RouteDecision{Route::issuer, RouteReason::dsync}));
  Kiocb kiocb;
  EXPECT_EQ(
      rig.run_sync(kiocb, *file, 0, iovec{data.data(), 4096}, KiocbFlags::write | KiocbFlags::sync),
      IoResult::success(4096));
}

// Two issuers write parts of the same blocks and drain while the pool ends their bios. Each block
// carries a stamp per slot; an exclusive write of a slot must not disturb the other slots of its
// block.
TEST_F(DioOnHostThreads, KeepsOverlappingWritersOfTwoIssuersApart) {
  constexpr unsigned rounds = 60;
  const std::uint64_t seed = announce_seed();
  // Two logical blocks are one fs block, so that half of the writes are to a part of one.
  DioRig rig(*device_, 2 * block_);
  const std::uint64_t file_bytes = 16ULL * block_;
  rig.file.map(0, file_bytes, 0, IomapType::unwritten);
  rig.file.recording = false;
  std::atomic<unsigned> failed{0};
  const auto work = [&](Issuer& issuer, unsigned who) {
    // Each issuer owns every second logical block of the file.
    std::mt19937_64 random(seed + who);
    struct Slot {
      TestAiocb aiocb;
      AlignedBuffer buffer;
    };
    std::array<Slot, 4> slots;
    for (unsigned round = 0; round < rounds; ++round) {
      for (unsigned i = 0; i < slots.size(); ++i) {
        Slot& slot = slots[i];
        if (slot.buffer.data() == nullptr) slot.buffer = AlignedBuffer(block_);
        const std::uint64_t place = 4 * i + 2 * (random() % 2) + who;
        std::memset(slot.buffer.data(), static_cast<int>(1 + place), block_);
        slot.aiocb.prepare_write_of(rig.file, place * block_, slot.buffer.span().first(block_));
        issuer.submit(slot.aiocb);
      }
      if (random() % 4 == 0) {
        const DioInflight::Drain drain(rig.file.inflight, issuer, (random() % 8) * 2 * block_,
                                       4ULL * block_);
      }
      while (issuer.in_flight() != 0)
        issuer.wait();
      for (Slot& slot : slots) {
        if (slot.aiocb.result != IoResult::success(block_)) failed.fetch_add(1);
      }
    }
  };
  std::thread other([&] {
    const auto issuer = make_issuer();
    work(*issuer, 1);
  });
  work(*rig.issuer, 0);
  other.join();
  EXPECT_EQ(failed.load(), 0U);
  EXPECT_EQ(rig.file.inflight.count(), 0U);
  // Every slot holds its own stamp, or zeros if chance never chose it.
  AlignedBuffer back(file_bytes);
  const IoResult result = rig.read(0, back.span());
  ASSERT_EQ(result, IoResult::success(static_cast<std::uint32_t>(rig.file.size.load())));
  for (std::uint64_t place = 0; place < 16; ++place) {
    const auto slot = back.span().subspan(place * block_, block_);
    const std::byte first = slot[0];
    EXPECT_TRUE(first == std::byte{0} || first == static_cast<std::byte>(1 + place)) << place;
    EXPECT_TRUE(std::all_of(slot.begin(), slot.end(), [&](std::byte byte) {
      return byte == first;
    })) << place;
  }
}

}  // namespace
}  // namespace handback::testing
