// Goal: what spans several fields is found too, and named: cycles, orphans, doubled names, shared
// blocks, lost writes, roots and superblocks that disagree.
// Method: small volumes edited at known fields, with checksums that fit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <handback/issuer.h>
#include <handback/volume.h>

#include <functional>
#include <string>

#include "hostile/base_images.h"
#include "hostile/format_fields.h"
#include "hostile/image_device.h"

namespace hostile::testing {
namespace {

using handback::CheckFinding;
using handback::CheckReport;
using handback::Errc;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

auto finding(std::string_view structure, std::string_view field, std::string_view problem) {
  return AllOf(::testing::Field(&CheckFinding::structure, std::string(structure)),
               ::testing::Field(&CheckFinding::field, HasSubstr(std::string(field))),
               ::testing::Field(&CheckFinding::problem, HasSubstr(std::string(problem))));
}

class CheckCases : public ::testing::Test {
 protected:
  void use(std::string_view name) {
    device_ = std::make_unique<ImageDevice>(base_image(name).bytes);
    fields_ = fields_of(device_->bytes());
  }
  ~CheckCases() override { issuer_.reset(); }

  // The n-th field of this name.
  const Field& field(std::string_view structure, std::string_view name, std::size_t n = 0) const {
    for (const Field& candidate : fields_) {
      if (candidate.structure != structure || candidate.name != name) continue;
      if (n-- == 0) return candidate;
    }
    ADD_FAILURE() << "the image has no " << structure << "." << name;
    std::abort();
  }
  std::uint64_t value(const Field& at) const {
    return number_at(device_->bytes(), at.at, std::min<unsigned>(at.bytes, 8));
  }
  void set(const Field& at, std::uint64_t number) {
    const unsigned bytes = std::min<unsigned>(at.bytes, 8);
    put_number(device_->change(at.at, bytes), 0, number, bytes);
    device_->seal(at.sealed);
  }
  // Of the inode with this number, the n-th such field in the checkpoint.
  std::size_t index_of_inode(std::uint64_t ino) const {
    std::size_t n = 0;
    for (const Field& candidate : fields_) {
      if (std::string_view(candidate.structure) != "inode" ||
          std::string_view(candidate.name) != "ino") {
        continue;
      }
      if (value(candidate) == ino) return n;
      ++n;
    }
    std::abort();
  }
  // The entry of this name in a directory of the checkpoint: its `ino` field.
  const Field& entry(std::string_view name) const {
    for (std::size_t i = 0; i + 2 < fields_.size(); ++i) {
      if (std::string_view(fields_[i].structure) != "directory" ||
          std::string_view(fields_[i].name) != "ino") {
        continue;
      }
      const Field& text = fields_[i + 2];
      const auto* at = reinterpret_cast<const char*>(device_->bytes().data()) + text.at;
      if (std::string_view(at, text.bytes) == name) return fields_[i];
    }
    std::abort();
  }

  CheckReport check() {
    auto report = handback::check_volume(*issuer_, *device_);
    EXPECT_TRUE(report) << report.error().message();
    auto opened = handback::Volume::open(*issuer_, *device_, {.read_only = true});
    bool refuses = false;
    for (const CheckFinding& found : report->findings)
      refuses |= found.refuses_open;
    EXPECT_EQ(refuses, !opened) << (opened ? "" : opened.error().message());
    refused_ = !opened;
    refusal_ = opened ? "" : opened.error().message();
    if (!opened) {
      EXPECT_EQ(opened.error().code(), Errc::damaged);
    }
    EXPECT_EQ(device_->counters().writes, 0U);
    return std::move(*report);
  }

  std::unique_ptr<ImageDevice> device_;
  std::vector<Field> fields_;
  std::unique_ptr<handback::Issuer> issuer_ = std::move(*handback::Issuer::create());
  bool refused_ = false;
  std::string refusal_;
};

TEST_F(CheckCases, WholeVolumesHaveNoFindings) {
  for (const BaseImage& image : base_images()) {
    SCOPED_TRACE(image.name);
    device_ = std::make_unique<ImageDevice>(image.bytes);
    EXPECT_THAT(check().findings, IsEmpty());
    EXPECT_FALSE(refused_) << refusal_;
    issuer_->detach(*device_);
  }
}

TEST_F(CheckCases, ACycleOfDirectoriesIsNamedOnceWithItsLength) {
  use("closed");
  // /d holds /d/e; /d's own name is made to lead to the empty directory, and e's list gets d.
  const std::uint64_t d = value(entry("d"));
  const std::uint64_t b = value(entry("b"));
  const std::uint64_t empty = value(entry("empty"));
  set(entry("d"), b);  // The root no longer leads to d.
  set(entry("b"), d);  // d/e/b is d itself.
  const CheckReport report = check();
  EXPECT_TRUE(refused_);
  EXPECT_THAT(report.findings, Contains(finding("directory", "inode " + std::to_string(d),
                                                "a cycle of 2 directories")));
  EXPECT_THAT(report.findings, Contains(finding("inode", "inode " + std::to_string(d), "orphan")));
  EXPECT_NE(d, empty);
}

TEST_F(CheckCases, ADirectoryThatHoldsItselfIsACycleOfOne) {
  use("closed");
  const std::uint64_t e = value(entry("e"));
  const std::uint64_t b = value(entry("b"));
  set(entry("e"), b);
  set(entry("b"), e);
  EXPECT_THAT(check().findings, Contains(finding("directory", "inode " + std::to_string(e),
                                                 "a cycle of 1 directories")));
  EXPECT_TRUE(refused_);
}

TEST_F(CheckCases, AnOrphanAndADanglingEntryAreBothNamed) {
  use("closed");
  const std::uint64_t c = value(entry("c"));
  set(entry("c"), 4242);
  const CheckReport report = check();
  EXPECT_TRUE(refused_);
  EXPECT_THAT(report.findings,
              Contains(finding("directory", "entry 'c'", "inode 4242, which does not exist")));
  EXPECT_THAT(report.findings, Contains(finding("inode", "inode " + std::to_string(c), "orphan")));
  EXPECT_THAT(report.findings, SizeIs(2));
  EXPECT_THAT(refusal_, HasSubstr("4242"));
}

TEST_F(CheckCases, ASecondNameOfADirectoryIsNamed) {
  use("closed");
  const std::uint64_t d = value(entry("d"));
  set(entry("empty"), d);
  EXPECT_THAT(check().findings,
              Contains(finding("directory", "entry 'empty'", "has more than one name")));
  EXPECT_TRUE(refused_);
  // Of the root, its own name counts.
  use("closed");
  set(entry("empty"), 1);
  EXPECT_THAT(check().findings,
              Contains(finding("directory", "entry 'empty'", "has more than one name")));
}

TEST_F(CheckCases, ANameThatIsThereTwiceIsNamedOnce) {
  use("linked");
  // Of the root's list: "d", then several names of one length.
  const Field& name = field("directory", "name", 3);
  const Field& next = field("directory", "name", 4);
  ASSERT_EQ(name.bytes, next.bytes);
  const auto from = device_->bytes().subspan(next.at, next.bytes);
  std::copy(from.begin(), from.end(), device_->change(name.at, name.bytes).begin());
  device_->seal(name.sealed);
  const CheckReport report = check();
  EXPECT_TRUE(refused_);
  EXPECT_THAT(report.findings, Contains(finding("directory", "entry", "is there twice")).Times(1));
}

TEST_F(CheckCases, NamesWithSeparatorsNulOrDotsAreNamed) {
  for (const char bad : {'/', '\0', '.'}) {
    use("closed");
    const Field& name = field("directory", "name", 0);
    ASSERT_EQ(name.bytes, 1U);
    set(name, static_cast<std::uint8_t>(bad));
    EXPECT_THAT(check().findings, Contains(finding("directory", "name", "separator or a NUL")));
    EXPECT_TRUE(refused_);
  }
}

TEST_F(CheckCases, EntriesOutOfOrderAreNoticedButOpen) {
  use("closed");
  set(field("directory", "name", 0), 'z');
  EXPECT_THAT(check().findings, Contains(finding("directory", "entries", "not sorted")));
  EXPECT_FALSE(refused_);
}

TEST_F(CheckCases, ExtentsThatOverlapNameBothInodes) {
  use("scattered");
  const std::uint64_t other = value(field("extent", "addr", 200));
  set(field("extent", "addr", 3), other);
  const CheckReport report = check();
  EXPECT_TRUE(refused_);
  EXPECT_THAT(report.findings, SizeIs(1));
  EXPECT_THAT(report.findings,
              Contains(finding("extent", "inode", "overlap another extent, that of inode")));
}

TEST_F(CheckCases, EveryExtentOutsideTheDataAreaIsNamedWithWhereItLies) {
  use("scattered");
  const std::uint64_t blocks = device_->bytes().size() / block_bytes;
  set(field("extent", "addr", 0), 1);
  set(field("extent", "addr", 1), blocks);
  set(field("extent", "addr", 2), blocks - 1);
  set(field("extent", "addr", 3), (std::uint64_t{1} << 63) - 1);
  const CheckReport report = check();
  EXPECT_TRUE(refused_);
  EXPECT_THAT(report.findings,
              Contains(finding("extent", "addr", "in the metadata area")).Times(2));
  EXPECT_THAT(report.findings, Contains(finding("extent", "addr", "outside the volume")).Times(2));
  EXPECT_THAT(report.findings, SizeIs(4));
  for (const CheckFinding& found : report.findings) {
    EXPECT_GE(found.block, 3U + 64);
    EXPECT_LT(found.block, 3U + 64 + 2 * 32);
  }
}

TEST_F(CheckCases, ExtentsOutOfOrderAndBeyondTheLargestFileAreNamed) {
  use("scattered");
  set(field("extent", "offset", 5), 0);
  EXPECT_THAT(check().findings, Contains(finding("extent", "extent 5, offset", "before the end")));
  EXPECT_TRUE(refused_);
  use("scattered");
  set(field("extent", "offset", 5), std::uint64_t{1} << 48);
  EXPECT_THAT(check().findings,
              Contains(finding("extent", "extent 5, offset", "beyond the largest file")));
  EXPECT_TRUE(refused_);
  use("scattered");
  set(field("extent", "count", 5), 0);
  EXPECT_THAT(check().findings, Contains(finding("extent", "extent 5, count", "is 0")));
}

TEST_F(CheckCases, EveryWrongCountOfNamesIsListed) {
  use("closed");
  set(field("inode", "nlink", 1), 7);
  set(field("inode", "nlink", 2), 8);
  const CheckReport report = check();
  EXPECT_TRUE(refused_);
  EXPECT_THAT(report.findings, Contains(finding("inode", "nlink", "is 7, but 1 names")));
  EXPECT_THAT(report.findings, Contains(finding("inode", "nlink", "is 8, but 1 names")));
  EXPECT_THAT(report.findings, SizeIs(2));
}

TEST_F(CheckCases, EveryDamagedCheckpointBlockIsListed) {
  use("scattered");
  const std::uint64_t first = field("checkpoint", "magic", 0).sealed;
  const std::uint64_t second = field("checkpoint", "magic", 1).sealed;
  device_->change(first * block_bytes + 100, 1)[0] ^= std::byte{1};
  set(field("checkpoint", "generation", 1), 77);
  const CheckReport report = check();
  EXPECT_TRUE(refused_);
  ASSERT_THAT(report.findings, SizeIs(2));
  EXPECT_EQ(report.findings[0].block, first);
  EXPECT_EQ(report.findings[0].field, "checksum");
  EXPECT_EQ(report.findings[1].block, second);
  EXPECT_THAT(report.findings[1].problem, HasSubstr("is 77 instead of"));
}

TEST_F(CheckCases, DamageOfEverythingAtOnceIsListedTogether) {
  use("logged");
  device_->change(block_bytes - 1, 1)[0] ^= std::byte{1};        // The superblock's checksum.
  device_->change(2 * block_bytes + 100, 1)[0] ^= std::byte{1};  // A root.
  set(field("inode", "nlink", 1), 9);
  set(field("log", "confirmed", 0), std::uint64_t{1} << 62);
  const CheckReport report = check();
  EXPECT_TRUE(refused_);
  EXPECT_THAT(report.findings, Contains(finding("superblock", "checksum", "mismatch")));
  EXPECT_THAT(report.findings, Contains(finding("root", "checksum", "mismatch")));
  EXPECT_THAT(report.findings, Contains(finding("inode", "nlink", "is 9")));
  EXPECT_THAT(report.findings, Contains(finding("log", "confirmed", "out of bounds")));
}

TEST_F(CheckCases, EveryRecordBehindALostOneIsListed) {
  use("logged");
  const Field& first = field("log", "magic", 0);
  std::size_t records = 0;
  for (const Field& candidate : fields_) {
    if (std::string_view(candidate.structure) == "log" &&
        std::string_view(candidate.name) == "magic") {
      ++records;
    }
  }
  ASSERT_GE(records, 3U);
  device_->change(first.at + 70, 1)[0] ^= std::byte{1};
  const CheckReport report = check();
  EXPECT_TRUE(refused_);
  EXPECT_THAT(report.findings, Contains(finding("log", "record", "durable changes were lost"))
                                   .Times(static_cast<int>(records - 1)));
}

TEST_F(CheckCases, ATornRecordIsNoFinding) {
  use("torn");
  const CheckReport report = check();
  EXPECT_FALSE(refused_);
  EXPECT_THAT(report.findings, IsEmpty());
  EXPECT_TRUE(report.recovery.torn_record_dropped);
}

TEST_F(CheckCases, ARecordLongerThanAnyIsTornWhateverItsChecksumSays) {
  use("logged");
  const std::uint64_t before = check().recovery.records_replayed;
  const Field* last = nullptr;
  for (const Field& candidate : fields_) {
    if (std::string_view(candidate.structure) == "log" &&
        std::string_view(candidate.name) == "payload_bytes") {
      last = &candidate;
    }
  }
  ASSERT_NE(last, nullptr);
  set(*last, 32 * block_bytes);
  const CheckReport report = check();
  EXPECT_FALSE(refused_) << refusal_;
  EXPECT_TRUE(report.recovery.torn_record_dropped);
  EXPECT_EQ(report.recovery.records_replayed, before - 1);
  // One block less, and it is looked at: its changes do not fill it.
  set(*last, 32 * block_bytes - header_bytes);
  EXPECT_THAT(check().findings, Contains(finding("log", "change_count", "are left over")));
}

TEST_F(CheckCases, ALogThatNamesMoreUnconfirmedDataThanTheVolumeHoldsIsNotReadToItsEnd) {
  use("unconfirmed");
  // The last write names its only piece 4000 times, and is right each time.
  constexpr std::uint64_t piece = 25;
  constexpr std::uint64_t pieces = 4000;
  std::size_t last = 0;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (std::string_view(fields_[i].name) == "piece_count") last = i;
  }
  ASSERT_NE(last, 0U);
  ASSERT_EQ(value(fields_[last]), 1U);
  const std::uint64_t block = fields_[last].sealed;
  const std::uint64_t first = fields_[last].at + 2;
  const auto bytes = device_->change(first, pieces * piece);
  for (std::uint64_t i = 1; i < pieces; ++i)
    std::copy_n(bytes.begin(), piece, bytes.begin() + static_cast<std::ptrdiff_t>(i * piece));
  put_number(device_->change(fields_[last].at, 2), 0, pieces, 2);
  put_number(device_->change(block * block_bytes + 48, 4), 0,
             first + pieces * piece - block * block_bytes - header_bytes, 4);
  device_->seal(block);
  const CheckReport report = check();
  EXPECT_TRUE(refused_);
  EXPECT_THAT(report.findings, Contains(finding("log", "(write)", "than the volume has room for")));
  EXPECT_LT(report.blocks_read, 250U);
}

TEST_F(CheckCases, ALogThatLeavesMoreMetadataThanACheckpointHoldsIsRefused) {
  use("fresh");
  const std::uint64_t log = number_at(device_->bytes(), header_bytes + 24);
  const auto all = device_->change(log * block_bytes, 62 * block_bytes);
  std::fill(all.begin(), all.end(), std::byte{0});
  std::uint64_t ino = 2;
  for (std::uint64_t record = 0; record < 2; ++record) {
    const std::uint64_t start = record * 31 * block_bytes;
    const auto header = device_->bytes().subspan(0, header_bytes);
    std::copy(header.begin(), header.end(), all.begin() + static_cast<std::ptrdiff_t>(start));
    put_number(all, start + 4, 4, 2);
    put_number(all, start + 24, log + record * 31);
    put_number(all, start + 40, record + 1);
    std::uint64_t at = start + header_bytes + 16;
    std::uint64_t count = 0;
    for (; at + 28 + 4 <= start + 31 * block_bytes; ++count, ++ino) {
      put_number(all, at, 1, 1);
      put_number(all, at + 1, 1);
      put_number(all, at + 9, ino);
      put_number(all, at + 26, 4, 2);
      for (unsigned digit = 0; digit < 4; ++digit)
        put_number(all, at + 28 + digit, 'a' + (ino >> (4 * digit)) % 16, 1);
      at += 28 + 4;
    }
    put_number(all, start + header_bytes, count, 4);
    put_number(all, start + 48, at - start - header_bytes, 4);
    device_->seal(log + record * 31);
  }
  EXPECT_THAT(check().findings, Contains(finding("log", "changes", "more than a checkpoint")));
  EXPECT_TRUE(refused_);
  EXPECT_THAT(refusal_, HasSubstr("more metadata than a checkpoint area holds"));
}

TEST_F(CheckCases, AVolumeWhoseNumbersAreUsedUpCanBeReadAndNotWritten) {
  for (const char* number : {"log_position", "log_sequence", "next_write_id"}) {
    use("closed");
    for (const std::size_t root : {0, 1})
      set(field("root", number, root), std::uint64_t{1} << 62);
    EXPECT_THAT(check().findings, IsEmpty());
    EXPECT_FALSE(refused_) << refusal_;
    const auto opened = handback::Volume::open(*issuer_, *device_);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), Errc::too_large);
    EXPECT_THAT(opened.error().message(), HasSubstr(number));
    EXPECT_EQ(device_->counters().writes, 0U);
  }
}

TEST_F(CheckCases, AWriteThatNamesBytesOutsideTheDataAreaIsNamedAndNothingIsReadThere) {
  const std::uint64_t bytes = base_image("unconfirmed").bytes.size();
  for (const std::uint64_t addr :
       {std::uint64_t{0}, bytes - block_bytes, bytes, ~std::uint64_t{4095}}) {
    use("unconfirmed");
    set(field("change", "addr"), addr);
    EXPECT_THAT(check().findings,
                Contains(finding("log", "(write)", "lies outside the data area")));
    EXPECT_TRUE(refused_);
  }
}

TEST_F(CheckCases, SuperblocksThatDisagreeAreNamedByField) {
  use("closed");
  set(field("superblock", "created_ns", 1), 4);
  EXPECT_THAT(check().findings,
              Contains(finding("superblock", "created_ns", "differs from the copy in block 0")));
  EXPECT_FALSE(refused_);
}

TEST_F(CheckCases, RootsOfOneGenerationThatDisagreeAreNamedByField) {
  use("closed");
  set(field("root", "log_sequence", 1), 4);
  EXPECT_THAT(check().findings, Contains(finding("root", "log_sequence", "differs from the root")));
  EXPECT_FALSE(refused_);
}

TEST_F(CheckCases, ALostWriteOfARootIsSeenByItsGeneration) {
  use("closed");
  // One behind is what a crash between the two leaves; two are a lost write.
  const std::uint64_t generation = value(field("root", "generation", 0));
  ASSERT_EQ(generation, 3U);
  for (const std::size_t root : {0, 1}) {
    set(field("root", "generation", root), generation - 1);
    EXPECT_THAT(check().findings, IsEmpty());
    set(field("root", "generation", root), generation - 2);
    EXPECT_THAT(check().findings, Contains(finding("root", "generation", "writes were lost")));
    EXPECT_FALSE(refused_);
    set(field("root", "generation", root), generation);
  }
}

TEST_F(CheckCases, ADamagedRootThatMayHaveBeenTheNewerOneIsSaidToBe) {
  use("closed");
  const std::uint64_t generation = value(field("root", "generation", 0));
  const std::uint64_t slot = value(field("root", "slot", 0));
  // What is left after the newer root decayed: the older one, and both checkpoints.
  set(field("root", "generation", 1), generation - 1);
  set(field("root", "slot", 1), 1 - slot);
  device_->change(block_bytes + 100, 1)[0] ^= std::byte{1};
  const CheckReport report = check();
  EXPECT_THAT(report.findings, Contains(finding("root", "checksum", "mismatch")));
  EXPECT_THAT(report.findings, Contains(finding("root", "generation", "may have named")));
}

TEST_F(CheckCases, EveryOneOfManyFindingsIsCounted) {
  use("scattered");
  std::size_t n = 0;
  for (const Field& candidate : fields_) {
    if (std::string_view(candidate.structure) == "extent" &&
        std::string_view(candidate.name) == "addr") {
      put_number(device_->change(candidate.at, 8), 0, 0);
      device_->seal(candidate.sealed);
      ++n;
    }
  }
  const CheckReport report = check();
  EXPECT_EQ(report.findings_total, n);
  EXPECT_THAT(report.findings, SizeIs(n));
  EXPECT_LT(n, handback::check_findings_max);
}

}  // namespace
}  // namespace hostile::testing
