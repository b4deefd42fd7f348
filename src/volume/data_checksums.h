// The checksums of a volume's data: a CRC-32C of each block of it, in pages of the checksum area
// that are kept in memory wherever the volume has data.
//
// A page's home block on the device may not fit the data at any moment at which the page is called
// *stale* by what a crash would leave: by the list at the end of the checkpoint, or by a record of
// the log. Stale pages are opened as unknown. So a block that durable metadata calls written is
// overwritten only while its page is durably stale, and a home block is written only then, too.
//
// Thread class: any thread that may lock; lock() is of rank `checksums`.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <handback/contract.h>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "volume/extent_map.h"
#include "volume/format.h"

namespace handback {

// What a page says of a block: 0 if that is not known.
[[nodiscard]] std::uint32_t data_checksum(std::span<const std::byte> bytes) noexcept;
// The same of a block whose CRC-32C was taken elsewhere.
[[nodiscard]] constexpr std::uint32_t data_checksum_of(std::uint32_t crc) noexcept {
  return crc == 0 ? 0xffffffff : crc;
}

using ChecksumEntries = std::array<std::uint32_t, checksums_per_page>;

// A page as a block of its own, sealed.
void checksum_page_encode(const ChecksumEntries& entries, const VolumeId& volume_id,
                          const Layout& layout, std::uint64_t index, std::span<std::byte> block);
// Null, or what is wrong with the block.
[[nodiscard]] const char* checksum_page_decode(std::span<const std::byte> block,
                                               const VolumeId& volume_id, const Layout& layout,
                                               std::uint64_t index, ChecksumEntries* entries);

// Pages [first, end).
struct PageRange {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
};
// The pages of blocks in the data area, by rising number, each once.
[[nodiscard]] std::vector<PageRange> pages_of(const Layout& layout, std::vector<BlockRun> runs);
// `ranges` as pages_of() gives them.
[[nodiscard]] bool contains(const std::vector<PageRange>& ranges, std::uint64_t page) noexcept;
// The stale pages of an opened volume: those that its checkpoint lists, and those of the log.
[[nodiscard]] std::vector<PageRange> stale_pages(const Layout& layout,
                                                 const std::vector<std::uint64_t>& listed,
                                                 std::vector<BlockRun> logged);

class DataChecksums {
 public:
  explicit DataChecksums(const Layout& layout) : layout_(layout) {}
  DataChecksums(const DataChecksums&) = delete;
  DataChecksums& operator=(const DataChecksums&) = delete;
  ~DataChecksums();

  [[nodiscard]] RankedMutex& lock() const noexcept { return lock_; }
  [[nodiscard]] std::uint64_t page_of(std::uint64_t block) const noexcept {
    return (block - layout_.data_start) / checksums_per_page;
  }
  [[nodiscard]] std::uint64_t page_count() const noexcept { return layout_.checksum_pages; }

  // --- at opening, before anybody else is there ---
  void add_known(std::uint64_t page, const ChecksumEntries& entries);
  // With nothing known of its blocks. `durably`: what is on the device says that it is stale.
  void add_unknown(std::uint64_t page, bool durably);

  // --- lock held. Runs lie in the data area ---

  // Whether data may be submitted to these blocks, as far as the log is durable. `written`: some
  // durable metadata may call them written.
  [[nodiscard]] bool ready(const BlockRun& run, bool written,
                           std::uint64_t durable_sequence) const noexcept;
  // Calls made(page) for each page that has to be marked stale before ready() can be, and notes
  // the number of the record that it returns. Returns the newest record to wait for, or 0.
  template <typename Make>
  std::uint64_t mark(const BlockRun& run, std::uint64_t durable_sequence, Make make);
  // The newest record to wait for before ready() can be of blocks that need no mark, or 0.
  [[nodiscard]] std::uint64_t awaited(const BlockRun& run,
                                      std::uint64_t durable_sequence) const noexcept;
  // A record says that these blocks are written, so that their pages are stale.
  void implied(const BlockRun& run, std::uint64_t sequence);
  // Data is about to be submitted: nothing is known of these blocks.
  void begin(const BlockRun& run);
  // It ended; if it failed, still nothing is known.
  void end(const BlockRun& run, bool ok);
  // Between begin() and end() of these blocks.
  void fill(const BlockRun& run, std::uint32_t checksum);
  // These blocks, whose pages were marked, become unwritten: nothing is known of them, and whoever
  // writes to them waits for the mark.
  void zeroed(const BlockRun& run);

  // --- lock not held ---

  // What is known of a block; 0: nothing. For whoever keeps writers of the block out.
  [[nodiscard]] std::uint32_t find(std::uint64_t block) const;
  // Between begin() and end() of the block.
  void set(std::uint64_t block, std::uint32_t checksum);

  // --- the checkpoint; metadata lock held ---

  void begin_checkpoint();
  // The next pages whose home blocks are to be written, at most as many as `to` has room for: adds
  // their numbers, and copies what they hold. False: nothing comes after them.
  struct Taken {
    std::uint64_t page;
    ChecksumEntries entries;
  };
  [[nodiscard]] bool take_pages(std::size_t count_max, std::uint64_t durable_sequence,
                                std::vector<Taken>& to);
  // The pages that are stale by the end of the checkpoint, by rising number. The others are clean
  // from here on: what it wrote of them fits.
  [[nodiscard]] std::vector<std::uint64_t> list_stale(std::uint64_t durable_sequence);
  // The checkpoint with that list counts.
  void list_durable();
  // Whether a checkpoint would find something to write or to list.
  [[nodiscard]] bool unsettled() const;

 private:
  static constexpr std::uint64_t clean = ~std::uint64_t{0};
  struct Page {
    std::uint64_t index = 0;
    // The record whose durability makes it durably stale; 0: it is.
    std::uint64_t mark = clean;
    std::uint64_t unwritten_after = 0;  // The record that data of unwritten blocks waits for.
    std::uint32_t in_flight = 0;        // Blocks.
    bool dirty = false;                 // The home block is another one.
    bool unsettled = false;             // Not clean, or dirty: in unsettled_.
    bool listed = false;                // By the checkpoint that is being written.
    ChecksumEntries entries{};
  };
  struct Part {
    std::uint64_t page;
    std::uint64_t first;  // Entry.
    std::uint64_t count;
  };
  // Calls each(Part) for each page of the run.
  template <typename Each>
  void for_parts(const BlockRun& run, Each each) const;
  [[nodiscard]] const Page* find_page(std::uint64_t index) const noexcept;
  Page& page(std::uint64_t index);
  void unsettle(Page& page);

  Layout layout_;
  mutable RankedMutex lock_{LockRank::checksums};
  absl::flat_hash_map<std::uint64_t, std::unique_ptr<Page>> pages_;
  std::vector<Page*> unsettled_;
  std::vector<Page*> to_take_;  // By the checkpoint, the last first.
};

template <typename Each>
void DataChecksums::for_parts(const BlockRun& run, Each each) const {
  std::uint64_t at = run.addr - layout_.data_start;
  const std::uint64_t end = at + run.count;
  while (at < end) {
    const std::uint64_t first = at % checksums_per_page;
    const std::uint64_t count = std::min(checksums_per_page - first, end - at);
    each(Part{at / checksums_per_page, first, count});
    at += count;
  }
}

template <typename Make>
std::uint64_t DataChecksums::mark(const BlockRun& run, std::uint64_t durable_sequence, Make make) {
  std::uint64_t newest = 0;
  for_parts(run, [&](const Part& part) {
    Page& of = page(part.page);
    if (of.mark == clean) {
      of.mark = make(part.page);
      unsettle(of);
    }
    if (of.mark > durable_sequence) newest = std::max(newest, of.mark);
  });
  return newest;
}

}  // namespace handback
