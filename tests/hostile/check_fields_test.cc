// Goal: every field of every structure is looked at. Method: each field of small volumes of every
// kind gets a dozen and more other values, with the checksum made to fit; what check must say of it
// is a table, and opening must refuse exactly what check says it refuses.
// The table is complete: a field without a row fails, and so does a row without a field.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <handback/issuer.h>
#include <handback/volume.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "hostile/base_images.h"
#include "hostile/format_fields.h"
#include "hostile/image_device.h"

namespace hostile::testing {
namespace {

using handback::CheckFinding;
using handback::CheckReport;
using handback::Errc;

// How many of the other values are found: some are as good as what was there, or say something
// else that is possible.
enum class How : std::uint8_t { every, some, none };
using enum How;

struct Row {
  const char* field;  // "structure.field", as docs/format.md names them.
  How found;
  std::vector<std::string> says;  // One of these is in the field that a finding names.
};

// As good as any are times, and what decides only whether a write at the log's end counts: the
// checksum of its data, and where the file must have ended.
const Row rows[] = {
    {"change.addr", some, {"change", "addr"}},
    {"change.count", some, {"change", "addr"}},
    {"change.crc", none, {}},
    {"change.end", some, {"change"}},
    {"change.ino", some, {"change", "addr"}},
    {"change.kind", every, {"change", "addr"}},
    {"change.length", some, {"change", "addr"}},
    {"change.maps", some, {"change"}},
    {"change.mtime_ns", none, {}},
    {"change.name", some, {"change"}},
    {"change.name length", every, {"change"}},
    {"change.name_to", some, {"change"}},
    {"change.name_to length", every, {"change"}},
    {"change.offset", some, {"change", "addr"}},
    {"change.page", every, {"change"}},
    {"change.parent", some, {"change"}},
    {"change.parent_to", some, {"change"}},
    {"change.piece_count", every, {"change", "addr"}},
    {"change.required_end", none, {}},
    {"change.size_bytes", some, {"change"}},
    {"change.type", some, {"change"}},
    {"change.unwritten", some, {"change", "addr"}},
    {"change.write_id", every, {"change"}},
    {"checkpoint.address", every, {"address"}},
    {"checkpoint.checksum", every, {"checksum"}},
    {"checkpoint.generation", every, {"generation"}},
    {"checkpoint.inode_count", every, {"inode_count", "inode", "stale"}},
    {"checkpoint.magic", every, {"magic"}},
    {"checkpoint.next_ino", some, {"next_ino", "change"}},
    {"checkpoint.payload_bytes", every, {"payload_bytes"}},
    {"checkpoint.reserved", every, {"reserved"}},
    {"checkpoint.sequence", every, {"sequence"}},
    {"checkpoint.stale page", every, {"stale page"}},
    {"checkpoint.stale_count", every, {"stale_count"}},
    {"checkpoint.type", every, {"type"}},
    {"checkpoint.volume_id", every, {"volume_id"}},
    {"checksum page.address", every, {"address"}},
    {"checksum page.checksum", every, {"checksum"}},
    {"checksum page.checksum[k]", none, {}},
    {"checksum page.generation", every, {"generation"}},
    {"checksum page.magic", every, {"magic"}},
    {"checksum page.payload_bytes", every, {"payload_bytes"}},
    {"checksum page.reserved", every, {"reserved"}},
    {"checksum page.sequence", every, {"sequence"}},
    {"checksum page.type", every, {"type"}},
    {"checksum page.volume_id", every, {"volume_id"}},
    {"directory.entry_count", every, {"entry_count", "inode"}},
    {"directory.ino", every, {"ino"}},
    {"directory.name", some, {"entry", "entries", "change"}},
    {"directory.name length", every, {"entry", "entries", "name", "inode"}},
    {"extent.addr", some, {"addr"}},
    {"extent.count", some, {"count", "offset", "addr"}},
    {"extent.offset", some, {"offset"}},
    {"inode.extent_count", every, {"extent_count", "inode"}},
    {"inode.flags", every, {"flags"}},
    {"inode.ino", every, {"ino"}},
    {"inode.mtime_ns", none, {}},
    {"inode.nlink", every, {"nlink"}},
    {"inode.size_bytes", some, {"size_bytes"}},
    {"inode.size_bytes of a directory", every, {"size_bytes"}},
    {"inode.type", every, {"inode"}},
    {"log.address", some, {"record"}},
    {"log.change_count", every, {"record"}},
    {"log.checksum", some, {"record"}},
    {"log.confirmed", some, {"record"}},
    {"log.generation", every, {"record"}},
    {"log.magic", some, {"record"}},
    {"log.payload_bytes", some, {"record"}},
    {"log.reserved", every, {"record"}},
    {"log.sequence", some, {"record"}},
    {"log.type", some, {"record"}},
    {"log.void_count", every, {"record"}},
    {"log.volume_id", some, {"record"}},
    {"root.address", every, {"address"}},
    {"root.checkpoint_bytes", every, {"checkpoint_bytes"}},
    {"root.checksum", every, {"checksum"}},
    {"root.generation", some, {"generation"}},
    {"root.log_position", every, {"log_position"}},
    {"root.log_sequence", every, {"log_sequence"}},
    {"root.magic", every, {"magic"}},
    {"root.next_write_id", every, {"next_write_id"}},
    {"root.oldest_minor", every, {"oldest_minor"}},
    {"root.payload_bytes", every, {"payload_bytes"}},
    {"root.reserved", every, {"reserved"}},
    {"root.sequence", every, {"sequence"}},
    {"root.slot", every, {"slot"}},
    {"root.type", every, {"type"}},
    {"root.volume_id", every, {"volume_id"}},
    {"superblock.address", every, {"address"}},
    {"superblock.checksum", every, {"checksum"}},
    {"superblock.created_ns", every, {"created_ns"}},
    {"superblock.data_end", every, {"data_end"}},
    {"superblock.data_start", every, {"data_start"}},
    {"superblock.formatted_blocks", every, {"formatted_blocks", "log_blocks", "slot_blocks"}},
    {"superblock.fs_block_bytes", every, {"fs_block_bytes"}},
    {"superblock.generation", every, {"generation"}},
    {"superblock.incompatible_features",
     every,
     {"incompatible_features", "payload_bytes", "data_start"}},
    {"superblock.label", every, {"label"}},
    {"superblock.label length", every, {"label", "payload_bytes"}},
    {"superblock.log_blocks", every, {"log_blocks"}},
    {"superblock.log_start", every, {"log_start"}},
    {"superblock.magic", every, {"magic"}},
    {"superblock.payload_bytes", every, {"payload_bytes"}},
    {"superblock.reserved", every, {"reserved"}},
    {"superblock.sequence", every, {"sequence"}},
    {"superblock.slot_blocks", every, {"slot_blocks"}},
    {"superblock.slot_start[0]", every, {"slot_start[0]"}},
    {"superblock.slot_start[1]", every, {"slot_start[1]"}},
    {"superblock.total_blocks", every, {"total_blocks", "log_blocks", "data_end"}},
    {"superblock.type", every, {"type"}},
    {"superblock.version_major", every, {"version_major"}},
    {"superblock.version_minor", every, {"version_minor"}},
    {"superblock.volume_id", every, {"volume_id"}},
};

struct Tally {
  unsigned values = 0;
  unsigned found = 0;  // With a finding, or an error.
};

const Row* row_of(const std::string& field) {
  for (const Row& row : rows) {
    if (row.field == field) return &row;
  }
  return nullptr;
}

std::set<std::uint64_t> other_values(const Field& field, std::uint64_t value) {
  const unsigned bits = field.bytes * 8;
  const std::uint64_t mask = bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
  std::set<std::uint64_t> values;
  for (const std::uint64_t other :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, value + 1, value - 1, value ^ 0x80,
        value * 2, ~value, ~std::uint64_t{0}, mask / 2, mask / 2 + 1, value + 0x100, value ^ 0x15,
        value ^ (mask & 0x0101010101010101), std::uint64_t{5},
        std::uint64_t{1} << std::min(bits / 2, 63U)}) {
    if ((other & mask) != value) values.insert(other & mask);
  }
  return values;
}

class CheckFields : public ::testing::Test {
 protected:
  void try_value(ImageDevice& device, const Field& field, std::uint64_t value, const Row& row,
                 Tally* tally) {
    const unsigned bytes = std::min<unsigned>(field.bytes, 8);
    put_number(device.change(field.at, bytes), 0, value, bytes);
    if (std::string_view(field.name) != "checksum") device.seal(field.sealed);
    const auto report = handback::check_volume(*issuer_, device);
    auto opened = handback::Volume::open(*issuer_, device, {.read_only = true});
    SCOPED_TRACE(std::string(row.field) + " = " + std::to_string(value) + " at byte " +
                 std::to_string(field.at));
    EXPECT_EQ(device.counters().writes, 0U);
    ++tally->values;
    if (!report) {
      EXPECT_TRUE(!opened && opened.error().code() == report.error().code());
      ++tally->found;
    } else {
      bool refuses = false;
      bool named = row.says.empty();
      for (const CheckFinding& finding : report->findings) {
        for (const std::string* text :
             {&finding.structure, &finding.field, &finding.problem, &finding.consequence})
          EXPECT_NE(*text, "");
        refuses |= finding.refuses_open;
        for (const std::string& says : row.says)
          named |= finding.field.find(says) != std::string::npos;
      }
      EXPECT_EQ(refuses, !opened) << (opened ? "opens" : opened.error().message());
      if (!opened) {
        EXPECT_EQ(opened.error().code(), Errc::damaged);
      }
      if (!report->findings.empty()) {
        ++tally->found;
        EXPECT_TRUE(named) << report->findings[0].structure << ", " << report->findings[0].field
                           << ": " << report->findings[0].problem;
      }
    }
    if (opened) opened->reset();
    device.restore();
    device.reset_counters();
  }

  std::unique_ptr<handback::Issuer> issuer_ = std::move(*handback::Issuer::create());
};

TEST_F(CheckFields, EveryValueOfEveryFieldIsFoundOrIsAsGoodAsAnother) {
  std::map<std::string, Tally> tallies;
  std::vector<BaseImage> images = base_images();
  images.push_back(grown_image());
  for (const BaseImage& base : images) {
    SCOPED_TRACE(base.name);
    ImageDevice device(base.bytes);
    const auto report = handback::check_volume(*issuer_, device);
    ASSERT_TRUE(report) << report.error().message();
    ASSERT_EQ(report->findings.size(), 0U) << report->findings[0].problem;
    std::map<std::string, unsigned> seen;
    for (const Field& field : fields_of(base.bytes)) {
      if (field.bytes == 0) continue;
      const std::string name = std::string(field.structure) + "." + field.name;
      const Row* row = row_of(name);
      ASSERT_NE(row, nullptr) << name << " has no row";
      if (++seen[name] > 6) continue;
      const unsigned bytes = std::min<unsigned>(field.bytes, 8);
      for (const std::uint64_t other : other_values(field, number_at(base.bytes, field.at, bytes)))
        try_value(device, field, other, *row, &tallies[name]);
    }
    issuer_->detach(device);
  }
  for (const Row& row : rows) {
    SCOPED_TRACE(row.field);
    const Tally& tally = tallies[row.field];
    EXPECT_GE(tally.values, 11U) << "the images do not hold it";
    switch (row.found) {
      case every:
        EXPECT_EQ(tally.found, tally.values);
        break;
      case some:
        EXPECT_GT(tally.found, 0U);
        EXPECT_LT(tally.found, tally.values) << "then the table can say so";
        break;
      case none:
        EXPECT_EQ(tally.found, 0U);
        break;
    }
  }
}

}  // namespace
}  // namespace hostile::testing
