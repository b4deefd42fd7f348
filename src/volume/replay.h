// The log, applied in memory: changes in their order, and writes whose data may or may not be there
// (write_ledger.h), of which only those that check out count.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "volume/change.h"
#include "volume/format.h"
#include "volume/metadata.h"

namespace handback {

class Replay {
 public:
  // Reads bytes of the device; false on an error, which the caller keeps.
  using ReadDevice = std::function<bool(std::uint64_t addr, std::span<std::byte> to)>;

  // Writes below `next_write_id` are contained in `metadata`, or void. `data_start`, `data_end`:
  // bytes on the device that a write may name.
  Replay(Metadata& metadata, std::uint64_t next_write_id, std::uint64_t data_start,
         std::uint64_t data_end, ReadDevice read)
      : metadata_(metadata),
        next_write_id_(next_write_id),
        confirmed_(next_write_id - 1),
        data_start_(data_start),
        data_end_(data_end),
        read_(std::move(read)) {}

  // Of a volume with data checksums. `runs`: collects the data blocks, in the data area, whose
  // checksum pages are stale by the log; of an `overwrite` the first block of the page.
  void track_stale(const Layout& layout, std::vector<BlockRun>* runs) noexcept {
    checksum_pages_ = layout.checksum_pages;
    stale_ = runs;
  }

  // --- first, of every record ---
  void note_head(std::uint64_t confirmed, std::span<const std::uint64_t> voids);

  // --- then, of every change ---
  // Null, or why it cannot be.
  [[nodiscard]] const char* apply(const Change& change);
  [[nodiscard]] bool read_failed() const noexcept { return read_failed_; }

  [[nodiscard]] std::uint64_t next_write_id() const noexcept { return next_write_id_; }
  // The first write that no durable record calls confirmed; next_write_id() if there is none.
  [[nodiscard]] std::uint64_t unconfirmed_from() const noexcept {
    return confirmed_ + 1 < next_write_id_ ? confirmed_ + 1 : next_write_id_;
  }
  // Unconfirmed writes that were not applied.
  [[nodiscard]] std::vector<std::uint64_t> dropped() const;
  [[nodiscard]] std::uint64_t checked_count() const noexcept { return checked_count_; }

 private:
  struct Write {
    Change change;  // Without its borrowed bytes.
    std::vector<WritePiece> pieces;
  };
  [[nodiscard]] const char* apply_write(const Change& change);
  [[nodiscard]] const char* problem_with(const Change& change,
                                         const std::vector<WritePiece>& pieces) const noexcept;
  [[nodiscard]] bool data_is_there(const std::vector<WritePiece>& pieces);
  void publish(Inode& inode, const Write& write);
  void publish_waiting(Inode& inode);
  void note_stale(std::uint64_t addr, std::uint64_t count);

  Metadata& metadata_;
  std::uint64_t checksum_pages_ = 0;
  std::vector<BlockRun>* stale_ = nullptr;
  std::uint64_t next_write_id_;
  std::uint64_t confirmed_;
  std::uint64_t data_start_;
  std::uint64_t data_end_;
  ReadDevice read_;
  bool read_failed_ = false;
  std::uint64_t checked_count_ = 0;
  std::uint64_t checked_bytes_ = 0;
  std::set<std::uint64_t> voids_;
  std::set<std::uint64_t> applied_;  // Of the unconfirmed.
  // Good, but behind a write that is not there (yet): ino, then in their order.
  std::map<std::uint64_t, std::vector<Write>> waiting_;
};

}  // namespace handback
