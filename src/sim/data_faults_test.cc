// Goal: on a volume with checksums of data, whatever a device does to data without saying so is
// told by the read that meets it, or hits a block whose checksum is not known; and nothing is told
// that is not so. Method: random lives of a volume, ended by closes and kills, on a device that
// loses, misdirects and flips; a model keeps every byte that was written and which blocks must be
// known. HB_SEED and HB_SEEDS say which seeds.
#include <gtest/gtest.h>
#include <handback/sim.h>
#include <handback/volume.h>

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "base/base_test_support.h"
#include "sim/pattern.h"
#include "sim/sim_random.h"

namespace handback::sim {
namespace {

constexpr std::uint64_t block = 4096;
constexpr std::uint64_t file_blocks = 48;
constexpr std::uint64_t volume_bytes = 6U << 20;
constexpr std::uint64_t misdirection = 64U << 10;
constexpr std::array paths = {"/a", "/b", "/c"};

struct Counts {
  std::uint64_t faults = 0;
  std::uint64_t detected = 0;  // Blocks that a read called damaged, and were.
  std::uint64_t unknown = 0;   // Wrong blocks that were delivered, and could not be known.
  std::uint64_t verified = 0;  // Right ones.
};

struct Model {
  std::vector<std::byte> bytes = std::vector<std::byte>(file_blocks * block);
  std::array<bool, file_blocks> known{};  // Must be verified.
};

class Lives {
 public:
  Lives(std::uint64_t seed, Counts& counts)
      : random_(mix(seed, 0xdf)),
        environment_(seed),
        device_(environment_, options(random_)),
        counts_(counts) {
    auto issuer = Issuer::create(
        {.dios_initial = 32, .bios_initial = 64, .nudge_signal = 0, .environment = &environment_});
    issuer_ = testing::value_of(std::move(issuer));
    testing::value_of(Volume::format(*issuer_, device_, {.data_checksums = true}));
  }
  ~Lives() {
    for (auto& file : files_)
      file.reset();
    volume_.reset();
    issuer_->detach(device_);
  }

  void run() {
    for (unsigned life = 0; life < 4 && !::testing::Test::HasFailure(); ++life) {
      begin(life == 0);
      for (unsigned i = 0; i < 60 && !::testing::Test::HasFailure(); ++i)
        step();
      end();
    }
  }

 private:
  static SimDeviceOptions options(SimRandom& random) {
    SimDeviceOptions options;
    options.size_bytes = volume_bytes;
    options.logical_block_bytes = random.one_in(2) ? 512 : 4096;
    options.volatile_cache = random.one_in(2);
    options.fua = options.volatile_cache && random.one_in(2);
    options.seed = random();
    return options;
  }

  void begin(bool first) {
    volume_ = testing::value_of(Volume::open(*issuer_, device_));
    data_end_ = volume_bytes - block;
    data_start_ = data_end_ - volume_->info().data_bytes;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      files_[i] = testing::value_of(volume_->open_file(*issuer_, paths[i], {.create = true}));
      // All of it is there, so that what is lost is data and never a size.
      if (first) write(i, 0, file_blocks);
    }
    ASSERT_EQ(volume_->recovery().checksum_pages_damaged, 0U);
    // A quiet life now and then: in it nothing may be found that was not there before.
    quiet_ = random_.one_in(3);
    if (!killed_) return;
    // What a lying device left of the newest writes is anybody's guess.
    for (std::size_t i = 0; i < paths.size(); ++i) {
      for (std::uint64_t at = 0; at < file_blocks; ++at) {
        models_[i].known[at] = false;
        AlignedBuffer bytes(block);
        if (read(i, at, bytes.span()).ok())
          std::memcpy(models_[i].bytes.data() + at * block, bytes.data(), block);
      }
    }
  }

  void end() {
    collect_faults();
    verify_everything();
    testing::value_of(volume_->sync(*issuer_));
    for (auto& file : files_)
      file.reset();
    killed_ = random_.one_in(2);
    if (!killed_) testing::value_of(volume_->close(*issuer_));
    volume_.reset();
    if (killed_) return;
    // At rest, check finds exactly what reads would.
    const CheckReport report = testing::value_of(check_volume(*issuer_, device_, {.data = true}));
    for (const CheckFinding& finding : report.findings)
      EXPECT_EQ(finding.structure, "data") << finding.field << ": " << finding.problem;
  }

  void collect_faults() {
    for (const FaultRule& rule : device_.faults())
      counts_.faults += rule.hits;
    device_.clear_faults();
  }
  std::uint64_t hits() const {
    std::uint64_t sum = 0;
    for (const FaultRule& rule : device_.faults())
      sum += rule.hits;
    return sum;
  }

  void step() {
    const std::size_t file = random_.below(paths.size());
    const std::uint64_t at = random_.below(file_blocks);
    const std::uint64_t count = 1 + random_.below(std::min<std::uint64_t>(8, file_blocks - at));
    switch (random_.below(12)) {
      case 0:
        if (!quiet_) add_fault();
        break;
      case 1:
        write_part(file, at);
        break;
      case 2:
        testing::value_of(volume_->sync(*issuer_));
        break;
      case 3:
        all_at_once(file);
        break;
      case 4:
      case 5:
      case 6:
        verify(file, at, count);
        break;
      default:
        write(file, at, count);
        break;
    }
  }

  void add_fault() {
    constexpr std::array kinds = {FaultKind::lost_write, FaultKind::misdirected_write,
                                  FaultKind::misdirected_read, FaultKind::stale_read,
                                  FaultKind::bit_rot};
    FaultRule rule;
    rule.kind = kinds[random_.below(kinds.size())];
    const bool of_writes =
        rule.kind == FaultKind::lost_write || rule.kind == FaultKind::misdirected_write;
    rule.op = of_writes ? BioOp::write : BioOp::read;
    rule.nth = 1 + random_.below(3);
    // Of data only, and so that what goes astray hits data, too.
    rule.from = data_start_;
    rule.to = data_end_ - misdirection - 64 * block;
    device_.add_fault(rule);
  }

  void write(std::size_t file, std::uint64_t at, std::uint64_t count) {
    AlignedBuffer bytes(count * block);
    fill_sectors(bytes.span(), ++write_id_);
    Aiocb aiocb;
    aiocb.prepare_write(*files_[file], at * block, bytes.span(),
                        random_.one_in(2) ? KiocbFlags::dsync : KiocbFlags::none);
    ASSERT_EQ(issuer_->run(aiocb), IoResult::success(static_cast<std::uint32_t>(count * block)));
    written(file, at, bytes.span());
  }

  void written(std::size_t file, std::uint64_t at, std::span<const std::byte> bytes) {
    Model& model = models_[file];
    std::memcpy(model.bytes.data() + at * block, bytes.data(), bytes.size());
    for (std::uint64_t i = 0; i < bytes.size() / block; ++i)
      model.known[at + i] = true;
  }

  // Of a block that is there: what becomes of the rest of it is not known any more.
  void write_part(std::size_t file, std::uint64_t at) {
    const std::uint32_t unit = device_.geometry().logical_block_bytes;
    if (unit == block) return;
    const std::uint64_t offset = at * block + random_.below(7) * unit;
    AlignedBuffer buffer(unit);
    const auto bytes = buffer.span().first(unit);
    fill_sectors(bytes, ++write_id_);
    Aiocb aiocb;
    aiocb.prepare_write(*files_[file], offset, bytes);
    ASSERT_EQ(issuer_->run(aiocb), IoResult::success(unit));
    std::memcpy(models_[file].bytes.data() + offset, bytes.data(), unit);
    models_[file].known[at] = false;
  }

  // Reads and writes that overlap, in flight together. Without faults no read may fail.
  void all_at_once(std::size_t file) {
    struct Flight {
      Aiocb aiocb;
      AlignedBuffer bytes{8 * block};
      std::uint64_t at = 0;
      bool write = false;
      bool done = false;
    };
    std::array<Flight, 8> flights;
    const std::uint64_t from = random_.below(file_blocks - 32);
    for (std::size_t i = 0; i < flights.size(); ++i) {
      Flight& flight = flights[i];
      const auto callback = [](Aiocb& ended) noexcept {
        static_cast<Flight*>(ended.context)->done = true;
      };
      flight.write = i % 2 == 0;
      if (flight.write) {
        flight.at = from + i * 4;
        fill_sectors(flight.bytes.span(), ++write_id_);
        flight.aiocb.prepare_write(*files_[file], flight.at * block,
                                   flight.bytes.span().first(8 * block), KiocbFlags::none, callback,
                                   &flight);
      } else {
        flight.at = from + random_.below(24);
        flight.aiocb.prepare_read(*files_[file], flight.at * block, flight.bytes.span(), callback,
                                  &flight);
      }
      issuer_->submit(flight.aiocb);
      if (random_.one_in(2)) issuer_->kick();
    }
    for (Flight& flight : flights) {
      while (!flight.done)
        issuer_->wait();
      if (flight.write) {
        ASSERT_TRUE(flight.aiocb.result.ok()) << describe(flight.aiocb.result);
        written(file, flight.at, flight.bytes.span().first(8 * block));
      } else if (!flight.aiocb.result.ok()) {
        ASSERT_EQ(flight.aiocb.result, IoResult::failure(Errc::damaged, IoDetail::data_checksum));
        EXPECT_TRUE(damaged_before_ || hits() != 0) << "a false alarm";
      }
    }
  }

  IoResult read(std::size_t file, std::uint64_t at, std::span<std::byte> to) {
    Aiocb aiocb;
    aiocb.prepare_read(*files_[file], at * block, to);
    return issuer_->run(aiocb);
  }

  void verify(std::size_t file, std::uint64_t at, std::uint64_t count) {
    AlignedBuffer bytes(count * block);
    const std::uint64_t before = hits();
    const IoResult result = read(file, at, bytes.span());
    if (result.ok()) {
      for (std::uint64_t i = 0; i < count; ++i)
        judge_delivered(file, at + i, bytes.span().subspan(i * block, block));
      return;
    }
    ASSERT_EQ(result, IoResult::failure(Errc::damaged, IoDetail::data_checksum));
    bool wrong = hits() != before;
    for (std::uint64_t i = 0; i < count; ++i)
      wrong |= is_wrong(file, at + i);
    EXPECT_TRUE(wrong) << "a false alarm: " << paths[file] << ", blocks " << at << " to "
                       << at + count - 1;
    ++counts_.detected;
  }

  void judge_delivered(std::size_t file, std::uint64_t at, std::span<const std::byte> bytes) {
    const Model& model = models_[file];
    if (std::memcmp(model.bytes.data() + at * block, bytes.data(), block) == 0) {
      ++counts_.verified;
      return;
    }
    ++counts_.unknown;
    EXPECT_FALSE(model.known[at]) << paths[file] << ", block " << at
                                  << ": wrong, known, and delivered";
  }

  // On the device.
  bool is_wrong(std::size_t file, std::uint64_t at) {
    for (const ExtentInfo& extent : files_[file]->extents()) {
      if (at * block < extent.offset || at * block >= extent.offset + extent.length) continue;
      const std::uint64_t addr = extent.addr + at * block - extent.offset;
      return std::memcmp(device_.image().data() + addr, models_[file].bytes.data() + at * block,
                         block) != 0;
    }
    return false;
  }

  // With a healed device.
  void verify_everything() {
    damaged_before_ = false;
    for (std::size_t file = 0; file < paths.size(); ++file) {
      for (std::uint64_t at = 0; at < file_blocks; ++at) {
        verify(file, at, 1);
        damaged_before_ |= is_wrong(file, at);
      }
    }
    if (quiet_ || ::testing::Test::HasFailure()) return;
    // What is written anew is whole again.
    for (std::size_t file = 0; file < paths.size(); ++file) {
      for (std::uint64_t at = 0; at < file_blocks; ++at) {
        if (!is_wrong(file, at) || random_.one_in(4)) continue;
        write(file, at, 1);
        AlignedBuffer bytes(block);
        EXPECT_EQ(read(file, at, bytes.span()), IoResult::success(block));
      }
    }
  }

  SimRandom random_;
  SimEnvironment environment_;
  SimDevice device_;
  Counts& counts_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::array<std::unique_ptr<VolumeFile>, paths.size()> files_;
  std::array<Model, paths.size()> models_;
  std::uint64_t data_start_ = 0;
  std::uint64_t data_end_ = 0;
  std::uint32_t write_id_ = 0;
  bool quiet_ = false;
  bool killed_ = false;
  bool damaged_before_ = false;  // The life began with wrong blocks.
};

TEST(DataFaults, AreToldOrHitWhatIsUnknown) {
  const std::uint64_t first = testing::number_from_environment("HB_SEED", 1);
  const std::uint64_t seeds = testing::number_from_environment("HB_SEEDS", 60);
  Counts counts;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE(::testing::Message() << "HB_SEED=" << seed << " HB_SEEDS=1");
    Lives(seed, counts).run();
    if (::testing::Test::HasFailure()) return;
  }
  RecordProperty("faults", static_cast<int>(counts.faults));
  RecordProperty("detected", static_cast<int>(counts.detected));
  RecordProperty("unknown", static_cast<int>(counts.unknown));
  std::cout << counts.faults << " faults, " << counts.detected << " reads told, " << counts.unknown
            << " wrong blocks unknown, " << counts.verified << " blocks right\n";
  if (seeds < 20) return;
  EXPECT_GT(counts.faults, seeds);
  EXPECT_GT(counts.detected, 0U);
  EXPECT_GT(counts.verified, 0U);
}

}  // namespace
}  // namespace handback::sim
