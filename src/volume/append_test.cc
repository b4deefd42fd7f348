// Goal: parallel appends are published in order, cost one round trip each when durable, and
// whatever moment the power is cut at, a file holds a prefix of them with at least what was
// acknowledged. HB_SEED replays one seed, HB_APPEND_SEEDS sets how many are tried.
#include <ostream>

#include "block/fault_device.h"
#include "volume/power_cut_device.h"
#include "volume/reorder_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

// One version of one unit of the file.
struct Version {
  std::uint64_t id;
  std::uint64_t issued;                       // Moment.
  std::uint64_t durable = ~std::uint64_t{0};  // Moment of its acknowledgement.
};

// Appends at depth, overwrites and syncs on one file, remembering what may be where.
class AppendHistory {
 public:
  AppendHistory(std::uint64_t seed, const CacheCase& cache)
      : unit_(cache.unit),
        random_(seed),
        memory_(make_memory_device(
            {.size_bytes = 4 << 20, .logical_block_bytes = static_cast<std::uint32_t>(unit_)})),
        device_(*memory_, cache.volatile_cache, cache.fua),
        reordered_(device_),
        issuer_(must(Issuer::create())),
        other_(must(Issuer::create())) {
    must(other_->attach(reordered_));
    must(Volume::format(*issuer_, reordered_));
    volume_ = must(Volume::open(*issuer_, reordered_));
    file_ = must(volume_->open_file(*issuer_, "/log", {.create = true}));
    must(volume_->sync(*issuer_));
    first_moment_ = device_.now();
  }
  ~AppendHistory() {
    file_.reset();
    volume_.reset();
    issuer_->detach(reordered_);
    other_->detach(reordered_);
  }

  void run(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      if (!blocks_.empty() && random_() % 3 == 0) overwrite();
      append(1 + random_() % 8);
      if (random_() % 8 == 0) {
        must(volume_->sync(*issuer_));
        for (auto& versions : blocks_)
          versions.back().durable = std::min(versions.back().durable, device_.now());
        note_size();
      }
    }
  }

  void verify(std::uint64_t moment, std::uint64_t image_seed) {
    SCOPED_TRACE(::testing::Message() << "moment " << moment << " of " << device_.now()
                                      << ", image seed " << image_seed);
    std::mt19937_64 random(image_seed);
    AlignedBuffer image(memory_->geometry().size_bytes);
    device_.image_at(moment, random, image.span());
    auto target = make_memory_device(
        {.size_bytes = image.size(), .logical_block_bytes = static_cast<std::uint32_t>(unit_)});
    auto issuer = must(Issuer::create());
    auto raw = make_device_file(*target);
    Aiocb fill;
    fill.prepare_write(*raw, 0, image.span());
    ASSERT_TRUE(issuer->run(fill).ok());
    // Twice: the second finds what the first has decided.
    for (int time = 0; time < 2; ++time) {
      auto opened = Volume::open(*issuer, *target);
      ASSERT_TRUE(opened) << opened.error().message();
      auto file = must((*opened)->open_file(*issuer, "/log"));
      ASSERT_NO_FATAL_FAILURE(compare(*file, *issuer, moment));
      file.reset();
      opened->reset();
      EXPECT_THAT(must(check_volume(*issuer, *target)).findings, ::testing::IsEmpty());
    }
  }

  [[nodiscard]] std::uint64_t first_moment() const { return first_moment_; }
  [[nodiscard]] std::uint64_t last_moment() const { return device_.now(); }

 private:
  void append(std::uint64_t count) {
    std::vector<std::unique_ptr<Aiocb>> requests;
    std::vector<AlignedBuffer> buffers;
    std::vector<bool> dsync;
    const std::uint64_t issued = device_.now() + 1;
    const std::size_t before = blocks_.size();
    for (std::uint64_t i = 0; i < count; ++i) {
      buffers.push_back(pattern(unit_, ++ids_));
      blocks_.push_back({{ids_, issued}});
      dsync.push_back(random_() % 3 != 0);
      requests.push_back(std::make_unique<Aiocb>());
      requests.back()->prepare_write(
          *file_, 0, buffers.back().span().first(unit_),
          dsync.back() ? KiocbFlags::append | KiocbFlags::dsync : KiocbFlags::append);
      issuer_->submit(*requests.back());
      if (random_() % 3 == 0) issuer_->poll();
      // Around what is in flight, too.
      if (random_() % 6 == 0) must(file_->preallocate(before * unit_, 16 * unit_));
      if (random_() % 8 == 0) must(volume_->sync(*other_));
      acknowledge(requests, dsync, before);
    }
    while (issuer_->in_flight() != 0) {
      issuer_->wait();
      acknowledge(requests, dsync, before);
    }
    for (std::size_t i = 0; i < requests.size(); ++i) {
      ASSERT_EQ(requests[i]->result, success());
      ASSERT_EQ(requests[i]->ki_pos, (before + i) * unit_);
    }
    ASSERT_EQ(file_->size(), blocks_.size() * unit_);
  }

  [[nodiscard]] IoResult success() const {
    return IoResult::success(static_cast<std::uint32_t>(unit_));
  }
  static bool delivered(const Aiocb& request) {
    return request.result.ok() && request.result.bytes() != 0;
  }

  void acknowledge(const std::vector<std::unique_ptr<Aiocb>>& requests,
                   const std::vector<bool>& dsync, std::size_t before) {
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (!delivered(*requests[i]) || !dsync[i]) continue;
      Version& version = blocks_[before + i].front();
      if (version.durable <= device_.now()) continue;
      version.durable = device_.now();
      sizes_.push_back({device_.now(), (before + i + 1) * unit_});
    }
  }

  void overwrite() {
    const std::size_t index =
        blocks_.size() - 1 - random_() % std::min<std::size_t>(4, blocks_.size());
    const bool dsync = random_() % 2 == 0;
    const AlignedBuffer data = pattern(unit_, ++ids_);
    blocks_[index].push_back({ids_, device_.now() + 1});
    Aiocb request;
    request.prepare_write(*file_, index * unit_, data.span().first(unit_),
                          dsync ? KiocbFlags::dsync : KiocbFlags::none);
    ASSERT_EQ(issuer_->run(request), success());
    if (!dsync) return;
    blocks_[index].back().durable = device_.now();
    sizes_.push_back({device_.now(), (index + 1) * unit_});
  }

  void note_size() { sizes_.push_back({device_.now(), blocks_.size() * unit_}); }

  void compare(VolumeFile& file, Issuer& issuer, std::uint64_t moment) {
    std::uint64_t least = 0;
    for (const auto& [acknowledged, size] : sizes_) {
      if (acknowledged <= moment) least = std::max(least, size);
    }
    ASSERT_GE(file.size(), least) << "what was acknowledged is gone";
    ASSERT_LE(file.size(), blocks_.size() * unit_);
    ASSERT_EQ(file.size() % unit_, 0U);
    for (std::size_t i = 0; i < file.size() / unit_; ++i) {
      AlignedBuffer is(unit_);
      Aiocb read;
      read.prepare_read(file, i * unit_, is.span().first(unit_));
      ASSERT_EQ(issuer.run(read), success());
      bool allowed = false;
      for (std::size_t v = blocks_[i].size(); v-- > 0 && !allowed;) {
        const Version& version = blocks_[i][v];
        if (version.issued > moment + 1) continue;
        allowed = bytes_of(is.span().first(unit_)) ==
                  bytes_of(pattern(unit_, version.id).span().first(unit_));
        if (version.durable <= moment) break;
      }
      ASSERT_TRUE(allowed) << "block " << i << " of " << file.size() / unit_
                           << " holds what it cannot hold";
    }
  }

  std::size_t unit_;
  std::mt19937_64 random_;
  std::unique_ptr<BlockDevice> memory_;
  PowerCutDevice device_;
  ReorderDevice reordered_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Issuer> other_;  // Commits what the first one has in flight.
  std::unique_ptr<Volume> volume_;
  std::unique_ptr<VolumeFile> file_;
  std::uint64_t first_moment_ = 0;
  std::uint64_t ids_ = 0;
  std::vector<std::vector<Version>> blocks_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> sizes_;  // Acknowledged: moment, bytes.
};

class VolumeAppendCrash : public ::testing::TestWithParam<CacheCase> {};

TEST_P(VolumeAppendCrash, KeepsAPrefixWithAllThatWasAcknowledgedAtAnyMoment) {
  const std::uint64_t count = number_from_environment("HB_APPEND_SEEDS", 2);
  const std::uint64_t first = number_from_environment("HB_SEED", 1);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(::testing::Message() << "replay with HB_SEED=" << seed << " HB_APPEND_SEEDS=1");
    AppendHistory history(seed, GetParam());
    ASSERT_NO_FATAL_FAILURE(history.run(12));
    std::mt19937_64 random(seed);
    for (int i = 0; i < 40; ++i) {
      const std::uint64_t span = history.last_moment() - history.first_moment() + 1;
      ASSERT_NO_FATAL_FAILURE(history.verify(history.first_moment() + random() % span, random()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Caches, VolumeAppendCrash,
                         ::testing::Values(CacheCase{"WriteThrough", false, false},
                                           CacheCase{"WriteThroughBySector", false, false, 512},
                                           CacheCase{"VolatileCacheWithFua", true, true},
                                           CacheCase{"VolatileCacheWithFuaBySector", true, true,
                                                     512},
                                           CacheCase{"VolatileCacheFlushOnly", true, false}),
                         [](const auto& caches) { return caches.param.name; });

class VolumeAppend : public ::testing::Test {
 protected:
  void make(const MemoryDeviceOptions& options) {
    memory_ = make_memory_device(options);
    device_ = std::make_unique<FaultDevice>(*memory_);
    issuer_ = must(Issuer::create());
    must(Volume::format(*issuer_, *device_));
    volume_ = must(Volume::open(*issuer_, *device_));
    file_ = must(volume_->open_file(*issuer_, "/log", {.create = true}));
    must(volume_->sync(*issuer_));
    device_->reset_counts();
  }
  void TearDown() override {
    file_.reset();
    volume_.reset();
    issuer_->detach(*device_);
  }
  void append_all(KiocbFlags flags) {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      requests_[i].prepare_write(*file_, 0, data_[i].span(), KiocbFlags::append | flags);
      issuer_->submit(requests_[i]);
    }
    while (issuer_->in_flight() != 0)
      issuer_->wait();
  }

  std::unique_ptr<BlockDevice> memory_;
  std::unique_ptr<FaultDevice> device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::unique_ptr<VolumeFile> file_;
  std::array<Aiocb, 4> requests_;
  std::array<AlignedBuffer, 4> data_{pattern(block, 1), pattern(block, 2), pattern(block, 3),
                                     pattern(block, 4)};
};

TEST_F(VolumeAppend, ADurableOneIsDataAndRecordWithoutAFlushOnAWriteThroughDevice) {
  make({});
  requests_[0].prepare_write(*file_, 0, data_[0].span(), KiocbFlags::append | KiocbFlags::dsync);
  ASSERT_TRUE(issuer_->run(requests_[0]).ok());
  EXPECT_EQ(device_->counts(), (FaultCounts{.writes = 2}));
}

TEST_F(VolumeAppend, ADurableOneIsTwoFuaWritesOnADeviceWithFua) {
  make({.volatile_cache = true, .fua = true});
  requests_[0].prepare_write(*file_, 0, data_[0].span(), KiocbFlags::append | KiocbFlags::dsync);
  ASSERT_TRUE(issuer_->run(requests_[0]).ok());
  EXPECT_EQ(device_->counts(), (FaultCounts{.writes = 2, .fua_writes = 2}));
}

TEST_F(VolumeAppend, ADurableOneIsDataRecordAndOneFlushOnADeviceWithAFlushOnly) {
  make({.volatile_cache = true, .fua = false});
  requests_[0].prepare_write(*file_, 0, data_[0].span(), KiocbFlags::append | KiocbFlags::dsync);
  ASSERT_TRUE(issuer_->run(requests_[0]).ok());
  EXPECT_EQ(device_->counts(), (FaultCounts{.writes = 2, .flushes = 1}));
}

TEST_F(VolumeAppend, AnOverwriteOfAnUnconfirmedBlockWaitsForARecordThatConfirmsIt) {
  make({});
  requests_[0].prepare_write(*file_, 0, data_[0].span(), KiocbFlags::append | KiocbFlags::dsync);
  ASSERT_TRUE(issuer_->run(requests_[0]).ok());
  device_->reset_counts();
  for (const unsigned writes : {2U, 1U}) {
    requests_[1].prepare_write(*file_, 0, data_[1].span(), KiocbFlags::dsync);
    ASSERT_TRUE(issuer_->run(requests_[1]).ok());
    EXPECT_EQ(device_->counts(), (FaultCounts{.writes = writes}));
    device_->reset_counts();
  }
  requests_[2].prepare_write(*file_, 0, data_[2].span(), KiocbFlags::append | KiocbFlags::dsync);
  ASSERT_TRUE(issuer_->run(requests_[2]).ok());
  requests_[3].prepare_write(*file_, block, data_[3].span(), KiocbFlags::nowait);
  EXPECT_EQ(issuer_->run(requests_[3]), IoResult::failure(Errc::would_block));
}

TEST_F(VolumeAppend, WhatStandsBehindAFailedOneIsCanceledAndTheFileEndsBeforeIt) {
  make({});
  device_->fail(BioOp::write, 2, IoResult::host_failure(eio));
  append_all(KiocbFlags::none);
  EXPECT_EQ(requests_[0].result, IoResult::success(block));
  EXPECT_EQ(requests_[1].result, IoResult::host_failure(eio));
  const IoResult canceled = IoResult::failure(Errc::canceled, IoDetail::behind_failed_append);
  EXPECT_EQ(requests_[2].result, canceled);
  EXPECT_EQ(requests_[3].result, canceled);
  EXPECT_EQ(file_->size(), block);
  append_all(KiocbFlags::dsync);
  EXPECT_EQ(requests_[3].result, IoResult::success(block));
  EXPECT_EQ(requests_[3].ki_pos, 4 * block);
  EXPECT_EQ(file_->size(), 5 * block);
}

TEST_F(VolumeAppend, OfSectorsLandOneBehindTheOtherWhileInFlight) {
  make({.logical_block_bytes = 512});
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    requests_[i].prepare_write(*file_, 0, data_[i].span().first(512), KiocbFlags::append);
    issuer_->submit(requests_[i]);
  }
  while (issuer_->in_flight() != 0)
    issuer_->wait();
  for (std::size_t i = 0; i < requests_.size(); ++i)
    EXPECT_EQ(requests_[i].ki_pos, i * 512);
  EXPECT_EQ(file_->size(), 2048U);
}

TEST_F(VolumeAppend, ADurableOneWithinADurableBlockMakesTheSizeDurable) {
  for (const bool fua : {false, true}) {
    make({.logical_block_bytes = 512, .volatile_cache = fua, .fua = fua});
    for (unsigned i = 0; i < 2; ++i) {
      requests_[i].prepare_write(*file_, i * 512, data_[i].span().first(512), KiocbFlags::dsync);
      ASSERT_TRUE(issuer_->run(requests_[i]).ok());
      // Nothing but the third write itself can make its size durable.
      must(volume_->sync(*issuer_));
    }
    requests_[2].prepare_write(*file_, 1024, data_[2].span().first(512), KiocbFlags::dsync);
    ASSERT_TRUE(issuer_->run(requests_[2]).ok());
    file_.reset();
    volume_.reset();
    volume_ = must(Volume::open(*issuer_, *device_));
    EXPECT_EQ(must(volume_->stat("/log")).size_bytes, 1536U) << fua;
    volume_.reset();
    issuer_->detach(*device_);
  }
  make({});
}

TEST_F(VolumeAppend, HoldsBackTheRestOfABlockThatItBegan) {
  make({.logical_block_bytes = 512});
  requests_[0].prepare_write(*file_, 0, data_[0].span().first(512),
                             KiocbFlags::append | KiocbFlags::dsync);
  ASSERT_TRUE(issuer_->run(requests_[0]).ok());
  requests_[1].prepare_write(*file_, 1024, data_[1].span().first(512), KiocbFlags::nowait);
  EXPECT_EQ(issuer_->run(requests_[1]), IoResult::failure(Errc::would_block));
}

TEST_F(VolumeAppend, ADurableWriteToAFileWithoutANameMakesItDurableThatTheNameIsGone) {
  make({});
  must(volume_->unlink("/log"));
  requests_[0].prepare_write(*file_, 0, data_[0].span(), KiocbFlags::dsync);
  ASSERT_TRUE(issuer_->run(requests_[0]).ok());
  file_.reset();
  volume_.reset();
  volume_ = must(Volume::open(*issuer_, *device_));
  EXPECT_TRUE(is_error(volume_->stat("/log"), Errc::not_found));
}

TEST_F(VolumeAppend, AFailedDurableOneIsNotThereAfterACrash) {
  make({});
  // The record goes first, then data by data.
  device_->fail(BioOp::write, 3, IoResult::host_failure(eio));
  append_all(KiocbFlags::dsync);
  EXPECT_EQ(requests_[0].result, IoResult::success(block));
  EXPECT_EQ(requests_[1].result, IoResult::host_failure(eio));
  file_.reset();
  volume_.reset();
  volume_ = must(Volume::open(*issuer_, *device_));
  EXPECT_EQ(must(volume_->stat("/log")).size_bytes, block);
}

}  // namespace
}  // namespace handback::testing
