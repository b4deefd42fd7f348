// A checkpoint's payload as tables, for the check: every entry as it stands there, fitting or not.
// About as large as the payload itself, whatever it claims.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "volume/check_findings.h"

namespace handback {

struct CheckedInode {
  std::uint64_t ino = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t parent = 0;       // Of a directory with a name: where. 0: nowhere.
  std::uint64_t at = 0;           // Offset in the payload.
  std::uint32_t nlink = 0;        // As it says.
  std::uint32_t names = 0;        // As was counted.
  std::uint32_t first_entry = 0;  // Into CheckTables::entries.
  std::uint32_t entry_count = 0;
  std::uint32_t walk = 0;  // Of a directory: the walk to the root that came by first.
  bool directory = false;
  bool reachable = false;
};

struct CheckedEntry {
  std::uint64_t ino = 0;
  std::uint64_t name_at = 0;  // Offset in the payload.
  std::uint16_t name_length = 0;
};

struct CheckedExtent {
  std::uint64_t addr = 0;
  std::uint64_t ino = 0;
  std::uint64_t offset = 0;
  std::uint32_t count = 0;
};

struct CheckTables {
  std::vector<std::byte> payload;
  std::vector<CheckedInode> inodes;  // By rising number, each once.
  std::vector<CheckedEntry> entries;
  std::vector<CheckedExtent> extents;
  std::vector<std::uint64_t> stale;  // Checksum pages, in bounds.
  bool complete = false;             // The payload was read to its end.

  [[nodiscard]] std::string_view name(const CheckedEntry& entry) const noexcept {
    return {reinterpret_cast<const char*>(payload.data()) + entry.name_at, entry.name_length};
  }
  // Null: there is none.
  [[nodiscard]] CheckedInode* find(std::uint64_t ino) noexcept;
  [[nodiscard]] const CheckedInode* find(std::uint64_t ino) const noexcept;
};

// Fills the tables from their payload, which lies on the device from `first_block` on.
class CheckpointParser {
 public:
  // `checksum_pages`: of the volume; 0: it has no checksums of data.
  CheckpointParser(CheckTables& tables, std::uint64_t first_block, std::uint64_t checksum_pages,
                   Findings& findings)
      : tables_(tables),
        first_block_(first_block),
        checksum_pages_(checksum_pages),
        findings_(findings) {}
  void run();

 private:
  bool parse_inode(ByteReader& in, std::uint64_t* previous);
  bool parse_extents(ByteReader& in, const CheckedInode& inode, std::uint32_t count);
  bool parse_entries(ByteReader& in, CheckedInode& inode);
  void check_names(const CheckedInode& inode);
  bool parse_stale(ByteReader& in);
  void refused(std::uint64_t at, std::string structure, std::string field, std::string problem);
  bool cut_off(std::uint64_t at, std::string structure, std::string field);
  [[nodiscard]] std::uint64_t block_of(std::uint64_t at) const noexcept;

  CheckTables& tables_;
  std::uint64_t first_block_;
  std::uint64_t checksum_pages_;
  Findings& findings_;
};

}  // namespace handback
