// The check of a whole volume: holds every structure against docs/format.md, and lists all that
// does not fit. Writes nothing.
//
// Opening (load.cc) stops at the first damage and keeps what it read; this goes on, and reads every
// field for itself. Where both have an opinion they must agree: what opening refuses is a finding
// with refuses_open, and the other way round (the hostile images hold one against the other).
#pragma once

#include <handback/issuer.h>
#include <handback/volume.h>

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "volume/check_findings.h"
#include "volume/check_tables.h"
#include "volume/data_checksums.h"
#include "volume/metadata.h"
#include "volume/superblock.h"

namespace handback {

class VolumeCheck {
 public:
  VolumeCheck(Issuer& issuer, BlockDevice& device, const CheckOptions& options = {})
      : issuer_(issuer), device_(device), check_data_(options.data) {}

  // Errors: invalid, version, io. Damage is a finding.
  [[nodiscard]] Result<void> run();

  [[nodiscard]] CheckReport report() const;
  [[nodiscard]] const Findings& findings() const noexcept { return findings_; }

  // --- for a repair; after a run without a finding that has no remedy ---
  [[nodiscard]] const Superblock& superblock() const noexcept { return *superblock_; }
  [[nodiscard]] const Root& root() const noexcept { return *root_; }
  // Of root_blocks: where that one was read. The other may be older.
  [[nodiscard]] std::size_t root_copy() const noexcept { return root_copy_; }
  // As the log leaves it, with counts corrected. Null: it could not be read.
  [[nodiscard]] const Metadata* metadata() const noexcept { return metadata_.get(); }
  [[nodiscard]] std::uint64_t log_head() const noexcept { return log_head_; }
  [[nodiscard]] std::uint64_t next_sequence() const noexcept { return next_sequence_; }
  [[nodiscard]] std::uint64_t next_write_id() const noexcept { return next_write_id_; }
  // By rising number: those that are stale, and those that are damaged.
  [[nodiscard]] std::vector<std::uint64_t> stale_checksum_pages() const;
  [[nodiscard]] bool has_damaged_checksum_pages() const noexcept { return !damaged_pages_.empty(); }
  // Where a record stands that was cut off, if the log ends in one.
  [[nodiscard]] std::optional<std::uint64_t> torn_block() const noexcept { return torn_block_; }

 private:
  using Step = Result<void>;  // An error is one of the device.

  Step read(std::uint64_t block, AlignedBuffer& to);
  bool read_bytes(std::uint64_t addr, std::span<std::byte> to);

  // check_superblock.cc
  Step check_superblocks();
  Step check_roots();

  // check_checkpoint.cc
  Step check_checkpoint();
  Step read_checkpoint(std::vector<std::byte>* payload, bool* whole);
  Step look_for_a_newer_checkpoint();

  // check_tree.cc
  void check_tree();
  void check_counts();
  void check_extents();
  [[nodiscard]] std::uint64_t checkpoint_block(std::uint64_t payload_offset) const noexcept;
  // The checkpoint block with this inode, or that of the header.
  [[nodiscard]] std::uint64_t block_of_inode(std::uint64_t ino) const noexcept;

  // check_log.cc
  class Log;
  Step check_log();

  // check_checksums.cc
  Step check_checksums();
  bool check_checksum_page(std::span<const std::byte> block, std::uint64_t page,
                           ChecksumEntries* entries);
  Step check_data();

  Issuer& issuer_;
  BlockDevice& device_;
  Findings findings_;
  std::uint64_t blocks_read_ = 0;
  std::uint64_t device_blocks_ = 0;
  std::optional<Error> read_error_;

  std::optional<Superblock> superblock_;
  std::optional<Root> root_;
  std::size_t root_copy_ = 0;
  std::optional<std::size_t> damaged_root_;  // While the other is good.
  RecoveryReport recovery_;
  CheckTables tables_;
  std::unique_ptr<Metadata> metadata_;
  std::uint64_t free_blocks_ = 0;
  std::uint64_t log_head_ = 0;
  std::uint64_t next_sequence_ = 0;
  std::uint64_t next_write_id_ = 1;
  std::optional<std::uint64_t> torn_block_;

  bool check_data_;
  std::vector<BlockRun> logged_stale_;  // By the log.
  std::vector<PageRange> stale_ranges_;
  std::vector<std::uint64_t> damaged_pages_;
  absl::flat_hash_map<std::uint64_t, std::unique_ptr<ChecksumEntries>> known_;
};

}  // namespace handback
