// Goal: whatever moment the power is cut at, a volume recovers to a state that its promises allow.
// Method: random operations on a PowerCutDevice; at many moments, images that a cut could leave are
// opened, compared with the states that the operations passed through, checked, used again and
// checked again. HB_SEED replays one seed; HB_CRASH_STATES sets how many images are tried.
#include <map>
#include <ostream>

#include "volume/power_cut_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

struct File {
  std::uint64_t object;
  std::uint64_t size;
  friend bool operator==(const File&, const File&) = default;
};
using Names = std::map<std::string, File>;  // Directories: object 0.

// One write (or a truncation, as a write of zeros) to one block of one file object.
struct BlockWrite {
  std::uint64_t id;                           // 0: zeros.
  std::uint64_t issued;                       // Moment.
  std::uint64_t durable = ~std::uint64_t{0};  // Moment at which it was acknowledged as durable.
};

std::vector<std::byte> block_contents(std::uint64_t id) {
  std::vector<std::byte> bytes(block);
  if (id != 0) fill_pattern(bytes, id);
  return bytes;
}

struct Step {
  std::uint64_t started;  // Moment.
  Names names;            // After it.
};

class History {
 public:
  History(std::uint64_t seed, bool volatile_cache, bool fua)
      : random_(seed),
        memory_(make_memory_device({.size_bytes = 4 << 20})),
        device_(*memory_, volatile_cache, fua),
        issuer_(must(Issuer::create())) {
    must(Volume::format(*issuer_, device_));
    volume_ = must(Volume::open(*issuer_, device_));
    formatted_ = device_.now();
    steps_.push_back({0, {}});
  }
  ~History() {
    volume_.reset();
    issuer_->detach(device_);
  }

  void run(int count) {
    for (int i = 0; i < count; ++i)
      step();
  }

  // Opens an image as of `moment` and compares.
  void verify(std::uint64_t moment, std::uint64_t image_seed) {
    SCOPED_TRACE(::testing::Message() << "moment " << moment << " of " << device_.now()
                                      << ", image seed " << image_seed);
    std::mt19937_64 random(image_seed);
    std::vector<std::byte> image(memory_->geometry().size_bytes);
    device_.image_at(moment, random, image);
    auto target = make_memory_device({.size_bytes = image.size()});
    auto issuer = must(Issuer::create());
    auto raw = make_device_file(*target);
    Aiocb fill;
    AlignedBuffer copy(image.size());
    std::memcpy(copy.data(), image.data(), image.size());
    fill.prepare_write(*raw, 0, copy.span());
    ASSERT_TRUE(issuer->run(fill).ok());

    auto opened = Volume::open(*issuer, *target);
    ASSERT_TRUE(opened) << opened.error().message();
    newest_generation_ = std::max(newest_generation_, (*opened)->recovery().checkpoint_generation);
    ASSERT_NO_FATAL_FAILURE(compare(**opened, *issuer, moment));
    opened->reset();
    EXPECT_THAT(must(check_volume(*issuer, *target)).findings, ::testing::IsEmpty());
    // Recovered, it is a volume like any other: it can be used, closed and found consistent.
    opened = Volume::open(*issuer, *target);
    ASSERT_TRUE(opened) << opened.error().message();
    must((*opened)->mkdir("/after"));
    must((*opened)->close(*issuer));
    opened->reset();
    const CheckReport report = must(check_volume(*issuer, *target));
    EXPECT_THAT(report.findings, ::testing::IsEmpty());
    EXPECT_TRUE(report.recovery.clean);
  }

  // The newest checkpoint that an image held; the first is the format's.
  [[nodiscard]] std::uint64_t newest_generation() const { return newest_generation_; }
  [[nodiscard]] std::uint64_t first_moment() const { return formatted_; }
  [[nodiscard]] std::uint64_t last_moment() const { return device_.now(); }

 private:
  std::string any_name() { return "/f" + std::to_string(random_() % 6); }

  std::string any_file() {
    std::vector<std::string> files;
    for (const auto& [name, file] : names_) {
      if (file.object != 0) files.push_back(name);
    }
    return files.empty() ? std::string{} : files[random_() % files.size()];
  }

  void step() {
    const std::uint64_t started = device_.now() + 1;
    switch (random_() % 10) {
      case 0: {
        const std::string name = "/d" + std::to_string(random_() % 3);
        if (names_.contains(name)) {
          must(volume_->rmdir(name));
          names_.erase(name);
        } else {
          must(volume_->mkdir(name));
          names_[name] = {0, 0};
        }
        break;
      }
      case 1: {
        const std::string from = any_file();
        if (from.empty()) return;
        const std::string to = any_name();
        must(volume_->rename(from, to));
        if (from != to) {
          names_[to] = names_[from];
          names_.erase(from);
        }
        break;
      }
      case 2: {
        const std::string name = any_file();
        if (name.empty()) return;
        must(volume_->unlink(name));
        names_.erase(name);
        break;
      }
      case 3: {
        const std::string name = any_file();
        if (name.empty()) return;
        File& file = names_[name];
        const std::uint64_t size = (random_() % 12) * block;
        for (std::uint64_t at = size; at < file.size; at += block) {
          writes_[file.object][at].push_back({0, started});
        }
        auto handle = must(volume_->open_file(*issuer_, name));
        must(handle->truncate(*issuer_, size));
        file.size = size;
        break;
      }
      case 4: {
        must(volume_->sync(*issuer_));
        acknowledge_all();
        break;
      }
      default: {
        const std::string name = any_name();
        auto handle = must(volume_->open_file(*issuer_, name, {.create = true}));
        if (!names_.contains(name)) {
          names_[name] = {++objects_, 0};
          steps_.push_back({started, names_});
        }
        File& file = names_[name];
        const std::uint64_t offset = (random_() % 12) * block;
        const std::uint64_t count = 1 + random_() % 4;
        AlignedBuffer buffer(count * block);
        for (std::uint64_t i = 0; i < count; ++i) {
          const std::uint64_t id = ++write_ids_;
          fill_pattern(buffer.span().subspan(i * block, block), id);
          writes_[file.object][offset + i * block].push_back({id, started});
        }
        const bool dsync = random_() % 3 == 0;
        Aiocb aiocb;
        aiocb.prepare_write(*handle, offset, buffer.span(),
                            dsync ? KiocbFlags::dsync : KiocbFlags::none);
        ASSERT_EQ(issuer_->run(aiocb),
                  IoResult::success(static_cast<std::uint32_t>(count * block)));
        file.size = std::max(file.size, offset + count * block);
        if (dsync) {
          for (std::uint64_t i = 0; i < count; ++i) {
            writes_[file.object][offset + i * block].back().durable = device_.now();
          }
          // With it, everything in the log before it: its own extension at least.
          if (steps_.back().names != names_) extension_durable_ = true;
        }
      }
    }
    steps_.push_back({started, names_});
    if (extension_durable_) {
      durable_steps_.push_back({device_.now(), steps_.size() - 1});
      extension_durable_ = false;
    }
  }

  void acknowledge_all() {
    for (auto& [object, blocks] : writes_) {
      for (auto& [offset, writes] : blocks) {
        for (BlockWrite& write : writes)
          write.durable = std::min(write.durable, device_.now());
      }
    }
    durable_steps_.push_back({device_.now(), steps_.size() - 1});
  }

  void compare(Volume& volume, Issuer& issuer, std::uint64_t moment) {
    Names found;
    for (const DirEntry& entry : must(volume.list("/"))) {
      found["/" + entry.name] = {
          entry.info.type == FileType::directory ? 0U : 1U,
          entry.info.type == FileType::directory ? 0 : entry.info.size_bytes};
    }
    std::size_t oldest = 0;
    for (const auto& [acknowledged, step] : durable_steps_) {
      if (acknowledged <= moment) oldest = step;
    }
    std::string last_problem = "no step has these names and sizes";
    for (std::size_t i = steps_.size(); i-- > oldest;) {
      if (steps_[i].started > moment + 1) continue;
      Names expected = steps_[i].names;
      for (auto& [name, file] : expected)
        file.object = file.object == 0 ? 0 : 1;
      if (expected != found) continue;
      last_problem = data_problem(volume, issuer, steps_[i].names, moment);
      if (last_problem.empty()) return;
    }
    std::string listing;
    for (const auto& [name, file] : found)
      listing += " " + name + ":" + std::to_string(file.size);
    FAIL() << "state not allowed (" << last_problem << ");" << listing << "; durable up to step "
           << oldest;
  }

  std::string data_problem(Volume& volume, Issuer& issuer, const Names& names,
                           std::uint64_t moment) {
    for (const auto& [name, file] : names) {
      if (file.object == 0 || file.size == 0) continue;
      auto handle = must(volume.open_file(issuer, name));
      AlignedBuffer buffer(file.size);
      Aiocb aiocb;
      aiocb.prepare_read(*handle, 0, buffer.span().first(file.size));
      if (!issuer.run(aiocb).ok()) return name + ": unreadable";
      for (std::uint64_t at = 0; at < file.size; at += block) {
        const auto is = bytes_of(buffer.span().subspan(at, block));
        if (!allowed(file.object, at, moment, is)) return name + ": block at " + std::to_string(at);
      }
    }
    return {};
  }

  bool allowed(std::uint64_t object, std::uint64_t offset, std::uint64_t moment,
               const std::vector<std::byte>& is) {
    const auto& writes = writes_[object][offset];
    for (std::size_t i = writes.size(); i-- > 0;) {
      if (writes[i].issued > moment + 1) continue;
      if (is == block_contents(writes[i].id)) return true;
      if (writes[i].durable <= moment) return false;  // Nothing older can be there.
    }
    return is == block_contents(0);
  }

  std::mt19937_64 random_;
  std::unique_ptr<BlockDevice> memory_;
  PowerCutDevice device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::uint64_t formatted_ = 0;
  std::uint64_t newest_generation_ = 0;

  Names names_;
  std::uint64_t objects_ = 0;
  std::uint64_t write_ids_ = 0;
  bool extension_durable_ = false;
  std::vector<Step> steps_;
  std::vector<std::pair<std::uint64_t, std::size_t>> durable_steps_;
  std::map<std::uint64_t, std::map<std::uint64_t, std::vector<BlockWrite>>> writes_;
};

class VolumeCrash : public ::testing::TestWithParam<CacheCase> {};

TEST_P(VolumeCrash, RecoversToAnAllowedStateAtAnyMoment) {
  const std::uint64_t states = number_from_environment("HB_CRASH_STATES", 120);
  constexpr std::uint64_t states_per_history = 40;
  std::uint64_t newest_generation = 0;
  for (std::uint64_t done = 0; done < states; done += states_per_history) {
    const std::uint64_t seed = number_from_environment("HB_SEED", 1 + done);
    SCOPED_TRACE(::testing::Message() << "replay with HB_SEED=" << seed);
    History history(seed, GetParam().volatile_cache, GetParam().fua);
    history.run(150);  // Enough for the log to wrap and for checkpoints.
    std::mt19937_64 random(seed);
    for (std::uint64_t i = 0; i < states_per_history; ++i) {
      const std::uint64_t span = history.last_moment() - history.first_moment() + 1;
      ASSERT_NO_FATAL_FAILURE(history.verify(history.first_moment() + random() % span, random()));
      if (HasFailure()) return;
      newest_generation = std::max(newest_generation, history.newest_generation());
    }
  }
  EXPECT_GT(newest_generation, 1U) << "no history was long enough for a checkpoint";
}

INSTANTIATE_TEST_SUITE_P(Caches, VolumeCrash,
                         ::testing::Values(CacheCase{"WriteThrough", false, false},
                                           CacheCase{"VolatileCacheWithFua", true, true},
                                           CacheCase{"VolatileCacheFlushOnly", true, false}),
                         [](const auto& caches) { return caches.param.name; });

}  // namespace
}  // namespace handback::testing
