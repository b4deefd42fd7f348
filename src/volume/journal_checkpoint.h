// The checkpoint that is being written.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "volume/data_checksums.h"
#include "volume/journal.h"

namespace handback {

// To the device at a time.
inline constexpr std::uint64_t checkpoint_piece_blocks = 16;

struct Journal::Checkpoint {
  Issuer::Impl* leader = nullptr;
  std::uint64_t covers_sequence = 0;  // All records up to this one are contained.
  std::uint64_t confirms = 0;         // All writes up to this one are contained, or void.
  std::optional<std::uint64_t>
      end_position;  // Of that record in the log, once it was written there.
  Root root;
  AlignedBuffer root_block{fs_block};

  // Taking and writing it, a piece at a time.
  struct Slice : IssuerWork {
    Journal* journal = nullptr;
  } slice;
  std::vector<std::byte> payload;  // Taken, but not in a block yet.
  bool taken = false;              // There is no more of it.
  AlignedBuffer piece{checkpoint_piece_blocks * fs_block};
  std::uint64_t piece_used = 0;      // Blocks.
  std::uint64_t blocks_written = 0;  // Before the piece.

  std::vector<DataChecksums::Taken> pages;  // On their way home.
  bool pages_left = true;

  enum class Step : std::uint8_t {
    pages,  // Of data checksums.
    write,  // And taking what is written.
    flush,
    wait_for_record,
    first_root,
    second_root
  } step = Step::write;
  bool started_root_step = false;
  std::unique_ptr<BioGroup> group;
};

}  // namespace handback
