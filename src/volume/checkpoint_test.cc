// Goal: writers go on while a checkpoint is taken, and what it holds is of one moment, whatever
// moment the power is cut at. HB_SEED replays one seed.

#include "volume/journal.h"
#include "volume/power_cut_device.h"
#include "volume/reorder_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

struct SmallSlices {
  explicit SmallSlices(std::size_t bytes) : before(checkpoint_slice_bytes.exchange(bytes)) {}
  ~SmallSlices() { checkpoint_slice_bytes = before; }
  std::size_t before;
};

TEST(VolumeCheckpoint, LetsDurableAppendsEndWhileItIsBeingTaken) {
  VolumeFixture fixture(MemoryDeviceOptions{.size_bytes = 64 << 20});
  for (int i = 0; i < 3000; ++i)
    fixture.create("/file-" + std::to_string(i));
  auto file = fixture.create("/log");
  const AlignedBuffer data = pattern(block, 1);
  const std::uint64_t generation = fixture.volume->info().checkpoint_generation;
  std::uint64_t during = 0;
  while (fixture.volume->info().checkpoint_generation < generation + 2) {
    const bool running = fixture.volume->info().checkpoint_running;
    ASSERT_EQ(fixture.write(*file, 0, data.span(), KiocbFlags::append | KiocbFlags::dsync),
              IoResult::success(block));
    // Begun before it and not ended after it.
    if (running && fixture.volume->info().checkpoint_running) ++during;
  }
  EXPECT_GT(during, 4U);
  fixture.kill_files(file);
  EXPECT_EQ(fixture.volume->info().file_count, 3001U);
}

// Files whose numbers say what is in them: appends, unlinks, renames and new files go on while
// checkpoints are taken in tiny slices.
TEST(VolumeCheckpoint, IsOfOneMomentWheneverThePowerIsCut) {
  const SmallSlices slices(100);
  const auto [first, count] = seeds_from_environment(3);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(::testing::Message() << "replay with HB_SEED=" << seed);
    std::mt19937_64 random(seed);
    auto memory = make_memory_device({.size_bytes = 4 << 20});
    PowerCutDevice device(*memory, seed % 2 == 0, false);
    ReorderDevice reordered(device);
    auto issuer = must(Issuer::create());
    must(Volume::format(*issuer, reordered));
    auto volume = must(Volume::open(*issuer, reordered));
    const AlignedBuffer data = pattern(block, 5);
    // A file without a name is in no checkpoint, whatever is done with it.
    auto nameless = must(volume->open_file(*issuer, "/nameless", {.create = true}));
    must(volume->unlink("/nameless"));
    struct Step {
      std::uint64_t moment;
      std::map<std::string, std::uint64_t> names;  // With sizes.
    };
    std::vector<Step> steps{{0, {}}};
    std::map<std::string, std::uint64_t> names;
    const std::uint64_t start = device.now();
    for (int i = 0; i < 150; ++i) {
      Aiocb elsewhere;
      elsewhere.prepare_write(*nameless, (random() % 8) * 2 * block, data.span());
      ASSERT_EQ(issuer->run(elsewhere), IoResult::success(block));
      if (random() % 4 == 0) must(nameless->punch(*issuer, (random() % 8) * block, 3 * block));
      const std::string name = "/f" + std::to_string(random() % 24);
      switch (random() % 6) {
        case 0:
          if (names.erase(name) != 0) must(volume->unlink(name));
          break;
        case 1: {
          const std::string to = "/g" + std::to_string(random() % 8);
          const auto from = names.find(name);
          if (from == names.end()) break;
          must(volume->rename(name, to));
          names[to] = from->second;
          names.erase(name);
          break;
        }
        case 2: {
          if (!names.contains(name)) break;
          auto file = must(volume->open_file(*issuer, name));
          must(file->truncate(*issuer, names[name] / 2 / block * block));
          names[name] = file->size();
          break;
        }
        default: {
          auto file = must(volume->open_file(*issuer, name, {.create = true}));
          Aiocb request;
          request.prepare_write(*file, 0, data.span(), KiocbFlags::append | KiocbFlags::dsync);
          // The name is made durable with it, or in a step of its own.
          if (!names.contains(name)) {
            names[name] = 0;
            steps.push_back({device.now() + 1, names});
          }
          ASSERT_EQ(issuer->run(request), IoResult::success(block));
          names[name] = file->size();
        }
      }
      // What was made in memory is there at the moment of the next record at the earliest.
      steps.push_back({device.now(), names});
    }
    const std::uint64_t end = device.now();
    EXPECT_GT(volume->info().checkpoint_generation, 2U);
    for (int i = 0; i < 30; ++i) {
      const std::uint64_t moment = start + random() % (end - start + 1);
      SCOPED_TRACE(::testing::Message() << "moment " << moment << " of " << end << ", image " << i);
      AlignedBuffer image(memory->geometry().size_bytes);
      device.image_at(moment, random, image.span());
      auto target = make_memory_device({.size_bytes = image.size()});
      auto other = must(Issuer::create());
      auto raw = make_device_file(*target);
      Aiocb fill;
      fill.prepare_write(*raw, 0, image.span());
      ASSERT_TRUE(other->run(fill).ok());
      auto opened = Volume::open(*other, *target);
      ASSERT_TRUE(opened) << opened.error().message();
      std::map<std::string, std::uint64_t> found;
      for (const DirEntry& entry : must((*opened)->list("/")))
        found["/" + entry.name] = entry.info.size_bytes;
      bool known = false;
      for (const Step& step : steps)
        known |= step.names == found;
      ASSERT_TRUE(known) << "no moment had these names and sizes";
      for (const auto& [name, size] : found) {
        auto file = must((*opened)->open_file(*other, name));
        for (std::uint64_t at = 0; at < size; at += block) {
          AlignedBuffer is(block);
          Aiocb read;
          read.prepare_read(*file, at, is.span());
          ASSERT_TRUE(other->run(read).ok());
          ASSERT_EQ(bytes_of(is.span()), bytes_of(data.span())) << name << " at " << at;
        }
      }
      opened->reset();
      ASSERT_THAT(must(check_volume(*other, *target)).findings, ::testing::IsEmpty());
    }
    nameless.reset();
    volume.reset();
    issuer->detach(reordered);
  }
}

}  // namespace
}  // namespace handback::testing
