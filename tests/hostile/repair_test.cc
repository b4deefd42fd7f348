// Goal: a repair does what is provably safe or nothing; it can be cut off anywhere and made again.
// Method: small volumes with one thing wrong, or several. Each repair is cut off behind each of its
// writes, the next one torn after 512 bytes, made again, and the volume compared with the whole
// one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <handback/issuer.h>
#include <handback/repair.h>
#include <handback/volume.h>

#include <functional>
#include <string>

#include "hostile/base_images.h"
#include "hostile/format_fields.h"
#include "hostile/image_device.h"

namespace hostile::testing {
namespace {

using handback::RepairOptions;
using handback::RepairOutcome;
using handback::RepairReport;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Damages an image.
using Damage = std::function<void(ImageDevice&, const std::vector<Field>&)>;

void set(ImageDevice& device, const std::vector<Field>& fields, std::string_view structure,
         std::string_view name, std::size_t n, std::uint64_t value) {
  for (const Field& field : fields) {
    if (field.structure != structure || field.name != name || n-- != 0) continue;
    const unsigned bytes = std::min<unsigned>(field.bytes, 8);
    put_number(device.change(field.at, bytes), 0, value, bytes);
    if (name != "checksum") device.seal(field.sealed);
    return;
  }
  FAIL() << "the image has no " << structure << "." << name;
}

Damage sets(std::string structure, std::string name, std::size_t n, std::uint64_t value) {
  return [=](ImageDevice& device, const std::vector<Field>& fields) {
    set(device, fields, structure, name, n, value);
  };
}
Damage rots(std::uint64_t block) {
  return [=](ImageDevice& device, const std::vector<Field>&) {
    device.change(block * block_bytes + 99, 1)[0] ^= std::byte{1};
  };
}
Damage both(Damage first, Damage second) {
  return [=](ImageDevice& device, const std::vector<Field>& fields) {
    first(device, fields);
    second(device, fields);
  };
}
constexpr std::uint64_t last_block = 1023;

class RepairTest : public ::testing::Test {
 protected:
  ~RepairTest() override { issuer_.reset(); }

  void use(const std::string& name, const Damage& damage) {
    if (device_) issuer_->detach(*device_);
    device_ = std::make_unique<ImageDevice>(base_image(name).bytes);
    const std::vector<Field> fields = fields_of(device_->bytes());
    damage(*device_, fields);
    // From here on this is what a restore comes back to.
    const std::vector<std::byte> damaged(device_->bytes().begin(), device_->bytes().end());
    device_->load(damaged);
  }

  RepairReport repair(const RepairOptions& options = {}) {
    auto report = handback::repair_volume(*issuer_, *device_, options);
    EXPECT_TRUE(report) << report.error().message();
    return std::move(*report);
  }

  // Every name with its size, its count of names and what it holds.
  std::string contents(const std::string& path = "") {
    auto volume = handback::Volume::open(*issuer_, *device_, {.read_only = true});
    if (!volume) return "cannot be opened: " + volume.error().message();
    std::string text;
    list(**volume, path, &text);
    return text;
  }
  void list(handback::Volume& volume, const std::string& path, std::string* text) {
    const auto entries = volume.list(path.empty() ? "/" : path);
    ASSERT_TRUE(entries) << entries.error().message();
    for (const auto& entry : *entries) {
      const std::string name = path + "/" + entry.name;
      *text += name + " " + std::to_string(entry.info.nlink) + " " +
               std::to_string(entry.info.size_bytes);
      if (entry.info.type == handback::FileType::directory) {
        *text += "\n";
        list(volume, name, text);
        continue;
      }
      auto file = volume.open_file(*issuer_, name);
      ASSERT_TRUE(file) << file.error().message();
      handback::AlignedBuffer buffer(256 << 10);
      handback::Aiocb aiocb;
      aiocb.prepare_read(**file, 0, buffer.span());
      const auto result = issuer_->run(aiocb);
      ASSERT_TRUE(result.ok());
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < result.bytes(); ++i)
        sum = sum * 31 + static_cast<std::uint8_t>(buffer.data()[i]);
      *text += " " + std::to_string(sum) + "\n";
    }
  }

  // The repair, made at once and cut off everywhere. `writes`: how many it takes.
  void expect_repaired(const std::string& name, const Damage& damage, std::uint64_t writes) {
    use(name, [](ImageDevice&, const auto&) {});
    const std::string whole = contents();
    use(name, damage);
    const RepairReport report = repair();
    EXPECT_EQ(report.outcome, RepairOutcome::repaired);
    EXPECT_THAT(report.refusals, IsEmpty());
    EXPECT_THAT(report.plan, ::testing::Not(IsEmpty()));
    EXPECT_EQ(report.blocks_written, writes);
    expect_whole(whole);
    for (std::uint64_t cut = 0; cut < writes; ++cut) {
      SCOPED_TRACE("cut off behind write " + std::to_string(cut));
      device_->restore();
      device_->cut_after(cut, 512);
      static_cast<void>(handback::repair_volume(*issuer_, *device_));
      device_->power_on();
      EXPECT_NE(repair().outcome, RepairOutcome::refused);
      expect_whole(whole);
    }
  }
  void expect_whole(const std::string& whole) {
    const auto check = handback::check_volume(*issuer_, *device_);
    ASSERT_TRUE(check) << check.error().message();
    EXPECT_THAT(check->findings, IsEmpty());
    EXPECT_FALSE(check->recovery.torn_record_dropped);
    EXPECT_EQ(contents(), whole);
    EXPECT_EQ(repair().outcome, RepairOutcome::consistent);
  }

  void expect_refused(const std::string& name, const Damage& damage, const std::string& why) {
    use(name, damage);
    const std::vector<std::byte> before(device_->bytes().begin(), device_->bytes().end());
    device_->reset_counters();
    const RepairReport report = repair({.confirm = [](const auto&) {
      ADD_FAILURE() << "it asks before it refuses";
      return true;
    }});
    EXPECT_EQ(report.outcome, RepairOutcome::refused);
    EXPECT_THAT(report.refusals, ::testing::Contains(HasSubstr(why)));
    EXPECT_THAT(report.plan, IsEmpty());
    EXPECT_EQ(device_->counters().writes, 0U);
    EXPECT_TRUE(std::equal(before.begin(), before.end(), device_->bytes().begin()));
  }

  std::unique_ptr<ImageDevice> device_;
  std::unique_ptr<handback::Issuer> issuer_ = std::move(*handback::Issuer::create());
};

TEST_F(RepairTest, AWholeVolumeIsLeftAlone) {
  for (const BaseImage& image : base_images()) {
    if (image.name == "torn") continue;
    SCOPED_TRACE(image.name);
    use(image.name, [](ImageDevice&, const auto&) {});
    EXPECT_EQ(repair().outcome, RepairOutcome::consistent);
    EXPECT_EQ(device_->counters().writes, 0U);
  }
}

TEST_F(RepairTest, ADamagedSuperblockIsWrittenFromItsTwin) {
  expect_repaired("logged", rots(0), 1);
  expect_repaired("logged", rots(last_block), 1);
}

TEST_F(RepairTest, ADamagedRootIsWrittenFromItsTwin) {
  expect_repaired("logged", rots(1), 1);
  expect_repaired("logged", rots(2), 1);
}

TEST_F(RepairTest, ARootWhoseWritesWereLostIsWrittenFromItsTwin) {
  expect_repaired("closed", sets("root", "generation", 0, 1), 1);
  expect_repaired("closed", sets("root", "generation", 1, 1), 1);
}

TEST_F(RepairTest, ATornTailOfTheLogIsErased) {
  expect_repaired(
      "torn", [](ImageDevice&, const auto&) {}, 1);
}

TEST_F(RepairTest, WrongCountsAreCorrectedInANewCheckpoint) {
  // The other root, the checkpoint's only block, and both roots.
  expect_repaired("logged", sets("inode", "nlink", 1, 77), 4);
  expect_repaired("logged", sets("inode", "nlink", 3, 77), 4);
  expect_repaired("logged", sets("inode", "size_bytes of a directory", 0, 77), 4);
  expect_repaired("linked", sets("inode", "nlink", 2, 1), 4);
  expect_repaired("unconfirmed", sets("inode", "size_bytes of a directory", 0, 3), 4);
}

TEST_F(RepairTest, AnOlderRootIsReplacedBeforeTheCheckpointThatItNames) {
  const auto older_root = [](ImageDevice& device, const std::vector<Field>& fields) {
    const std::uint64_t root = 2 * block_bytes;
    set(device, fields, "root", "generation", 1, number_at(device.bytes(), root + 32) - 1);
    set(device, fields, "root", "slot", 1, 1 - number_at(device.bytes(), root + 64, 4));
  };
  expect_repaired("closed", both(older_root, sets("inode", "nlink", 1, 9)), 4);
}

TEST_F(RepairTest, SeveralThingsAreRepairedTogether) {
  expect_repaired("torn", both(both(rots(0), rots(2)), sets("inode", "nlink", 2, 5)), 6);
}

TEST_F(RepairTest, AskedFirstItDoesNothingIfToldSo) {
  use("closed", rots(0));
  std::vector<std::string> asked;
  const RepairReport report = repair({.confirm = [&](const std::vector<std::string>& plan) {
    asked = plan;
    return false;
  }});
  EXPECT_EQ(report.outcome, RepairOutcome::declined);
  EXPECT_EQ(asked, report.plan);
  EXPECT_THAT(asked, ::testing::ElementsAre(HasSubstr("superblock in block 0 anew from the one in "
                                                      "block 1023")));
  EXPECT_EQ(device_->counters().writes, 0U);
}

TEST_F(RepairTest, WhatHasNoSafeRemedyIsRefusedWithItsReason) {
  expect_refused("closed", both(rots(0), rots(last_block)), "superblock (block 0)");
  expect_refused("closed", both(rots(1), rots(2)), "root (block 1)");
  expect_refused("closed", sets("superblock", "created_ns", 1, 5), "created_ns");
  expect_refused("closed", sets("superblock", "reserved", 0, 5), "reserved");
  expect_refused("closed", sets("root", "log_sequence", 1, 5), "log_sequence");
  expect_refused("closed", sets("checkpoint", "generation", 0, 77), "checkpoint");
  expect_refused("closed", sets("checkpoint", "next_ino", 0, 2), "next_ino");
  expect_refused("closed", sets("inode", "nlink", 1, 0), "nlink");
  expect_refused("closed", sets("inode", "flags", 1, 1), "flags");
  expect_refused("closed", sets("directory", "ino", 0, 4242), "4242");
  expect_refused("scattered", sets("extent", "addr", 3, 1), "extent");
  expect_refused("scattered", sets("extent", "offset", 3, 0), "extent");
  expect_refused("logged", sets("log", "checksum", 0, 1), "durable changes were lost");
  expect_refused("logged", sets("change", "kind", 0, 99), "no change");
  expect_refused("logged", sets("log", "confirmed", 0, 1000), "confirmed");
}

TEST_F(RepairTest, BesideSomethingThatHasNoRemedyNothingIsDone) {
  expect_refused("scattered", both(rots(0), sets("extent", "addr", 3, 1)), "extent");
  expect_refused("closed", both(rots(2), sets("directory", "ino", 0, 4242)), "4242");
}

// Root 0 was newer and has decayed: the older one leads to a volume, but not to the newest.
TEST_F(RepairTest, ADamagedRootThatMayHaveBeenTheNewerOneIsRefused) {
  const Damage older = [](ImageDevice& device, const std::vector<Field>& fields) {
    const std::uint64_t generation = number_at(device.bytes(), 2 * block_bytes + 32);
    // Of both checkpoints the one in use is one generation behind the other.
    const std::uint64_t slot = number_at(device.bytes(), 2 * block_bytes + 64, 4);
    const std::uint64_t other = number_at(device.bytes(), header_bytes + 40 + 8 * (1 - slot));
    put_number(device.change(other * block_bytes + 32, 8), 0, generation + 1);
    device.seal(other);
    static_cast<void>(fields);
  };
  expect_refused("closed", both(older, rots(1)), "may have named");
}

TEST_F(RepairTest, AVolumeOfANewerMinorVersionIsRefused) {
  expect_refused("closed",
                 both(both(sets("superblock", "version_minor", 0, 9),
                           sets("superblock", "version_minor", 1, 9)),
                      rots(1)),
                 "newer than this program");
}

TEST_F(RepairTest, WhatIsNoVolumeOrAnotherVersionIsAnError) {
  use("closed", [](ImageDevice& device, const auto&) {
    for (const std::uint64_t block : {std::uint64_t{0}, last_block})
      put_number(device.change(block * block_bytes, 4), 0, 0, 4);
  });
  EXPECT_EQ(handback::repair_volume(*issuer_, *device_).error().code(), handback::Errc::invalid);
  use("closed", sets("superblock", "version_major", 0, 9));
  EXPECT_EQ(handback::repair_volume(*issuer_, *device_).error().code(), handback::Errc::version);
  EXPECT_EQ(device_->counters().writes, 0U);
}

}  // namespace
}  // namespace hostile::testing
