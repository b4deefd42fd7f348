// Goal: whatever moment the power is cut at, durable writes whose blocks are punched, zeroed,
// written again and reused by another file are neither lost nor come back. Method: a PowerCutDevice
// and, for each sector of two files, the versions that it may hold. HB_SEED replays one seed,
// HB_PUNCH_SEEDS sets how many are tried, HB_PUNCH_STATES how many images of each.
#include <ostream>

#include "volume/power_cut_device.h"
#include "volume/reorder_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

constexpr std::size_t sectors = block / sector;

// One version of one sector. id 0: zeros.
struct Version {
  std::uint64_t id;
  std::uint64_t issued;                       // Moment.
  std::uint64_t durable = ~std::uint64_t{0};  // Moment of its acknowledgement.
};

std::vector<std::byte> contents_of(std::uint64_t id, std::size_t index) {
  std::vector<std::byte> bytes(sector);
  if (id != 0) fill_pattern(bytes, id * 64 + index % sectors);
  return bytes;
}

struct HistoryFile {
  std::string path;
  std::unique_ptr<VolumeFile> file;
  std::vector<std::vector<Version>> sectors;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> sizes;  // Acknowledged: moment, bytes.

  [[nodiscard]] std::uint64_t blocks() const { return sectors.size() / testing::sectors; }
};

class PunchHistory {
 public:
  PunchHistory(std::uint64_t seed, const CacheCase& cache)
      : random_(seed),
        memory_(make_memory_device({.size_bytes = 4 << 20})),
        device_(*memory_, cache.volatile_cache, cache.fua),
        reordered_(device_),
        issuer_(must(Issuer::create())) {
    must(Volume::format(*issuer_, reordered_));
    volume_ = must(Volume::open(*issuer_, reordered_));
    for (std::size_t i = 0; i < files_.size(); ++i) {
      files_[i].path = "/" + std::to_string(i);
      files_[i].file = must(volume_->open_file(*issuer_, files_[i].path, {.create = true}));
    }
    must(volume_->sync(*issuer_));
    first_moment_ = device_.now();
  }
  ~PunchHistory() {
    for (HistoryFile& file : files_)
      file.file.reset();
    volume_.reset();
    issuer_->detach(reordered_);
  }

  void run(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      HistoryFile& file = files_[random_() % files_.size()];
      switch (file.blocks() == 0 ? 9 : random_() % 10) {
        case 0:
        case 1:
          hole(file, true, true);
          break;
        case 2:
          hole(file, false, true);
          break;
        case 3:
          hole(file, true, false);
          break;
        case 4:
        case 5:
          rewrite(file);
          break;
        case 6:
          sync();
          break;
        default:
          append(file, 1 + random_() % 4);
      }
      if (::testing::Test::HasFailure()) return;
    }
  }

  void verify(std::uint64_t moment, std::uint64_t image_seed) {
    SCOPED_TRACE(::testing::Message() << "moment " << moment << " of " << device_.now()
                                      << ", image seed " << image_seed);
    std::mt19937_64 random(image_seed);
    AlignedBuffer image(memory_->geometry().size_bytes);
    device_.image_at(moment, random, image.span());
    auto target = make_memory_device({.size_bytes = image.size()});
    auto issuer = must(Issuer::create());
    auto raw = make_device_file(*target);
    Aiocb fill;
    fill.prepare_write(*raw, 0, image.span());
    ASSERT_TRUE(issuer->run(fill).ok());
    // Twice: the second finds what the first has decided.
    for (int time = 0; time < 2; ++time) {
      auto opened = Volume::open(*issuer, *target);
      ASSERT_TRUE(opened) << opened.error().message();
      for (const HistoryFile& file : files_) {
        SCOPED_TRACE(file.path);
        auto found = must((*opened)->open_file(*issuer, file.path));
        ASSERT_NO_FATAL_FAILURE(compare(file, *found, *issuer, moment));
      }
      opened->reset();
      EXPECT_THAT(must(check_volume(*issuer, *target)).findings, ::testing::IsEmpty());
    }
  }

  [[nodiscard]] std::uint64_t first_moment() const { return first_moment_; }
  [[nodiscard]] std::uint64_t last_moment() const { return device_.now(); }

 private:
  void append(HistoryFile& to, std::uint64_t count) {
    std::vector<std::unique_ptr<Aiocb>> requests;
    std::vector<AlignedBuffer> buffers;
    const std::uint64_t before = to.blocks();
    for (std::uint64_t i = 0; i < count; ++i) {
      buffers.push_back(new_block());
      for (std::size_t s = 0; s < sectors; ++s)
        to.sectors.push_back({{ids_, device_.now() + 1}});
      requests.push_back(std::make_unique<Aiocb>());
      requests.back()->prepare_write(*to.file, 0, buffers.back().span(),
                                     KiocbFlags::append | KiocbFlags::dsync);
      issuer_->submit(*requests.back());
    }
    // In the middle of them, sometimes: a hole that waits for them.
    if (random_() % 4 == 0) hole(to, random_() % 2 == 0, random_() % 2 == 0);
    while (issuer_->in_flight() != 0)
      issuer_->wait();
    for (std::uint64_t i = 0; i < count; ++i) {
      ASSERT_EQ(requests[i]->result, IoResult::success(block));
      ASSERT_EQ(requests[i]->ki_pos, (before + i) * block);
      acknowledge(to, before + i, 1);
    }
  }

  void rewrite(HistoryFile& to) {
    const std::uint64_t at = recent(to);
    const AlignedBuffer data = new_block();
    for (std::size_t s = 0; s < sectors; ++s)
      to.sectors[at * sectors + s].push_back({ids_, device_.now() + 1});
    const bool dsync = random_() % 2 == 0;
    Aiocb request;
    request.prepare_write(*to.file, at * block, data.span(),
                          dsync ? KiocbFlags::dsync : KiocbFlags::none);
    ASSERT_EQ(issuer_->run(request), IoResult::success(block));
    if (dsync) acknowledge(to, at, 1);
  }

  void hole(HistoryFile& in, bool freed, bool aligned) {
    const std::uint64_t start = recent(in) * sectors + (aligned ? 0 : random_() % sectors);
    const std::uint64_t count = aligned ? sectors * (1 + random_() % 2) : 1 + random_() % 20;
    const std::uint64_t end = std::min<std::uint64_t>(start + count, in.sectors.size());
    // Requests in flight were issued before; the hole comes after them.
    for (std::uint64_t s = start; s < end; ++s)
      in.sectors[s].push_back({0, device_.now() + 1});
    const std::uint64_t bytes = (end - start) * sector;
    must(freed ? in.file->punch(*issuer_, start * sector, bytes)
               : in.file->zero_range(*issuer_, start * sector, bytes));
  }

  void sync() {
    must(volume_->sync(*issuer_));
    for (HistoryFile& file : files_) {
      for (auto& versions : file.sectors)
        versions.back().durable = std::min(versions.back().durable, device_.now());
      file.sizes.push_back({device_.now(), file.blocks() * block});
    }
  }

  void acknowledge(HistoryFile& of, std::uint64_t at, std::uint64_t count) {
    for (std::uint64_t s = at * sectors; s < (at + count) * sectors; ++s) {
      // The write, which a hole may have followed.
      for (Version& version : of.sectors[s]) {
        if (version.id != 0) version.durable = std::min(version.durable, device_.now());
      }
    }
    of.sizes.push_back({device_.now(), (at + count) * block});
  }

  std::uint64_t recent(const HistoryFile& in) {
    return in.blocks() - 1 - random_() % std::min<std::uint64_t>(5, in.blocks());
  }

  AlignedBuffer new_block() {
    ++ids_;
    AlignedBuffer data(block);
    for (std::size_t s = 0; s < sectors; ++s) {
      const auto bytes = contents_of(ids_, s);
      std::memcpy(data.data() + s * sector, bytes.data(), sector);
    }
    return data;
  }

  static void compare(const HistoryFile& expected, VolumeFile& file, Issuer& issuer,
                      std::uint64_t moment) {
    std::uint64_t least = 0;
    for (const auto& [acknowledged, size] : expected.sizes) {
      if (acknowledged <= moment) least = std::max(least, size);
    }
    ASSERT_GE(file.size(), least) << "what was acknowledged is gone";
    ASSERT_LE(file.size(), expected.blocks() * block);
    if (file.size() == 0) return;
    AlignedBuffer is(file.size());
    Aiocb read;
    read.prepare_read(file, 0, is.span());
    ASSERT_TRUE(issuer.run(read).ok());
    for (std::size_t s = 0; s < file.size() / sector; ++s) {
      const auto found = bytes_of(is.span().subspan(s * sector, sector));
      bool allowed = false;
      const std::vector<Version>& versions = expected.sectors[s];
      for (std::size_t v = versions.size(); v-- > 0 && !allowed;) {
        if (versions[v].issued > moment + 1) continue;
        allowed = found == contents_of(versions[v].id, s);
        if (versions[v].durable <= moment) break;
      }
      ASSERT_TRUE(allowed) << "sector " << s << " of " << file.size() / sector
                           << " holds what it cannot hold";
    }
  }

  std::mt19937_64 random_;
  std::unique_ptr<BlockDevice> memory_;
  PowerCutDevice device_;
  ReorderDevice reordered_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::array<HistoryFile, 2> files_;
  std::uint64_t first_moment_ = 0;
  std::uint64_t ids_ = 0;
};

class VolumePunchCrash : public ::testing::TestWithParam<CacheCase> {};

TEST_P(VolumePunchCrash, NeitherLosesDurableWritesNorBringsBackWhatWasPunched) {
  const std::uint64_t count = number_from_environment("HB_PUNCH_SEEDS", 2);
  const std::uint64_t states = number_from_environment("HB_PUNCH_STATES", 25);
  const std::uint64_t first = number_from_environment("HB_SEED", 1);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(::testing::Message() << "replay with HB_SEED=" << seed << " HB_PUNCH_SEEDS=1");
    PunchHistory history(seed, GetParam());
    ASSERT_NO_FATAL_FAILURE(history.run(60));
    std::mt19937_64 random(seed);
    for (std::uint64_t i = 0; i < states; ++i) {
      const std::uint64_t span = history.last_moment() - history.first_moment() + 1;
      ASSERT_NO_FATAL_FAILURE(history.verify(history.first_moment() + random() % span, random()));
    }
    // Without a power cut nothing that was punched is back.
    ASSERT_NO_FATAL_FAILURE(history.verify(history.last_moment(), seed));
  }
}

INSTANTIATE_TEST_SUITE_P(Caches, VolumePunchCrash,
                         ::testing::Values(CacheCase{"WriteThrough", false, false},
                                           CacheCase{"VolatileCacheWithFua", true, true},
                                           CacheCase{"VolatileCacheFlushOnly", true, false}),
                         [](const auto& caches) { return caches.param.name; });

}  // namespace
}  // namespace handback::testing
