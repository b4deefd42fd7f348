#include "volume/data_checksums.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/planted_bug.h"
#include "volume/meta_block.h"

namespace handback {

std::uint32_t data_checksum(std::span<const std::byte> bytes) noexcept {
  return data_checksum_of(crc32c(bytes));
}

void checksum_page_encode(const ChecksumEntries& entries, const VolumeId& volume_id,
                          const Layout& layout, std::uint64_t index, std::span<std::byte> block) {
  std::vector<std::byte> payload;
  payload.reserve(meta_payload_bytes_max);
  ByteWriter out(payload);
  for (const std::uint32_t entry : entries)
    out.put(entry);
  std::copy(payload.begin(), payload.end(), block.begin() + meta_header_bytes);
  meta_seal(block, MetaHeader{.type = MetaType::checksum_page,
                              .volume_id = volume_id,
                              .address = layout.checksum_start + index,
                              .sequence = index,
                              .payload_bytes = static_cast<std::uint32_t>(payload.size())});
}

const char* checksum_page_decode(std::span<const std::byte> block, const VolumeId& volume_id,
                                 const Layout& layout, std::uint64_t index,
                                 ChecksumEntries* entries) {
  MetaHeader header;
  const MetaFault fault =
      meta_open(block, MetaType::checksum_page, layout.checksum_start + index, &volume_id, &header);
  if (fault != MetaFault::none) return to_string(fault).data();
  if (header.sequence != index) return "sequence is not the number of the page";
  if (header.payload_bytes != meta_payload_bytes_max) return "payload_bytes is not that of a page";
  ByteReader in(meta_payload(block, header));
  for (std::uint32_t& entry : *entries)
    entry = in.get<std::uint32_t>();
  return nullptr;
}

std::vector<PageRange> pages_of(const Layout& layout, std::vector<BlockRun> runs) {
  const auto by_addr = [](const BlockRun& a, const BlockRun& b) { return a.addr < b.addr; };
  if (!std::is_sorted(runs.begin(), runs.end(), by_addr))
    std::sort(runs.begin(), runs.end(), by_addr);
  std::vector<PageRange> ranges;
  for (const BlockRun& run : runs) {
    const std::uint64_t first = (run.addr - layout.data_start) / checksums_per_page;
    const std::uint64_t end =
        (run.addr + run.count - layout.data_start + checksums_per_page - 1) / checksums_per_page;
    if (!ranges.empty() && first <= ranges.back().end) {
      ranges.back().end = std::max(ranges.back().end, end);
    } else {
      ranges.push_back({first, end});
    }
  }
  return ranges;
}

bool contains(const std::vector<PageRange>& ranges, std::uint64_t page) noexcept {
  const auto behind =
      std::upper_bound(ranges.begin(), ranges.end(), page,
                       [](std::uint64_t of, const PageRange& range) { return of < range.first; });
  return behind != ranges.begin() && page < std::prev(behind)->end;
}

std::vector<PageRange> stale_pages(const Layout& layout, const std::vector<std::uint64_t>& listed,
                                   std::vector<BlockRun> logged) {
  for (const std::uint64_t page : listed)
    logged.push_back({layout.data_start + page * checksums_per_page, 1});
  return pages_of(layout, std::move(logged));
}

DataChecksums::~DataChecksums() = default;

const DataChecksums::Page* DataChecksums::find_page(std::uint64_t index) const noexcept {
  const auto found = pages_.find(index);
  return found == pages_.end() ? nullptr : found->second.get();
}

DataChecksums::Page& DataChecksums::page(std::uint64_t index) {
  std::unique_ptr<Page>& found = pages_[index];
  if (found == nullptr) {
    HB_ASSERT(index < layout_.checksum_pages, "a page of the checksum area");
    found = std::make_unique<Page>();
    found->index = index;
  }
  return *found;
}

void DataChecksums::unsettle(Page& page) {
  if (page.unsettled) return;
  page.unsettled = true;
  unsettled_.push_back(&page);
}

void DataChecksums::add_known(std::uint64_t index, const ChecksumEntries& entries) {
  page(index).entries = entries;
}

void DataChecksums::add_unknown(std::uint64_t index, bool durably) {
  Page& of = page(index);
  of.mark = durably ? 0 : clean;
  of.dirty = true;
  unsettle(of);
}

bool DataChecksums::ready(const BlockRun& run, bool written,
                          std::uint64_t durable_sequence) const noexcept {
  bool all = true;
  for_parts(run, [&](const Part& part) {
    const Page* of = find_page(part.page);
    if (!written) {
      all = all && (of == nullptr || of->unwritten_after <= durable_sequence ||
                    planted(PlantedBug::overwrite_mark_not_durable));
    } else if (of == nullptr || of->mark == clean) {
      all = false;
    } else if (!planted(PlantedBug::overwrite_mark_not_durable)) {
      all = all && of->mark <= durable_sequence;
    }
  });
  return all;
}

std::uint64_t DataChecksums::awaited(const BlockRun& run,
                                     std::uint64_t durable_sequence) const noexcept {
  std::uint64_t newest = 0;
  for_parts(run, [&](const Part& part) {
    const Page* of = find_page(part.page);
    if (of != nullptr && of->unwritten_after > durable_sequence)
      newest = std::max(newest, of->unwritten_after);
  });
  return newest;
}

void DataChecksums::implied(const BlockRun& run, std::uint64_t sequence) {
  for_parts(run, [&](const Part& part) {
    Page& of = page(part.page);
    of.mark = std::min(of.mark, sequence);
    unsettle(of);
  });
}

void DataChecksums::begin(const BlockRun& run) {
  for_parts(run, [&](const Part& part) {
    Page& of = page(part.page);
    of.in_flight += static_cast<std::uint32_t>(part.count);
    of.dirty = true;
    unsettle(of);
    if (planted(PlantedBug::checksum_of_old_data)) return;
    std::fill_n(of.entries.begin() + static_cast<std::ptrdiff_t>(part.first), part.count, 0);
  });
}

void DataChecksums::end(const BlockRun& run, bool ok) {
  for_parts(run, [&](const Part& part) {
    Page& of = page(part.page);
    HB_ASSERT(of.in_flight >= part.count, "a write of data ends once");
    of.in_flight -= static_cast<std::uint32_t>(part.count);
    if (ok || planted(PlantedBug::checksum_kept_after_failure)) return;
    std::fill_n(of.entries.begin() + static_cast<std::ptrdiff_t>(part.first), part.count, 0);
  });
}

void DataChecksums::fill(const BlockRun& run, std::uint32_t checksum) {
  for_parts(run, [&](const Part& part) {
    std::fill_n(page(part.page).entries.begin() + static_cast<std::ptrdiff_t>(part.first),
                part.count, checksum);
  });
}

void DataChecksums::zeroed(const BlockRun& run) {
  begin(run);
  end(run, true);
  for_parts(run, [&](const Part& part) {
    Page& of = page(part.page);
    of.unwritten_after = std::max(of.unwritten_after, of.mark);
  });
}

std::uint32_t DataChecksums::find(std::uint64_t block) const {
  const std::lock_guard guard(lock_);
  const Page* of = find_page(page_of(block));
  return of == nullptr ? 0 : of->entries[(block - layout_.data_start) % checksums_per_page];
}

void DataChecksums::set(std::uint64_t block, std::uint32_t checksum) {
  const std::lock_guard guard(lock_);
  page(page_of(block)).entries[(block - layout_.data_start) % checksums_per_page] = checksum;
}

// --- checkpoints ---

void DataChecksums::begin_checkpoint() {
  const std::lock_guard guard(lock_);
  to_take_.clear();
  for (Page* of : unsettled_) {
    if (of->dirty) to_take_.push_back(of);
  }
  std::sort(to_take_.begin(), to_take_.end(),
            [](const Page* a, const Page* b) { return a->index > b->index; });
}

bool DataChecksums::take_pages(std::size_t count_max, std::uint64_t durable_sequence,
                               std::vector<Taken>& to) {
  const std::lock_guard guard(lock_);
  while (!to_take_.empty() && to.size() < count_max) {
    Page& of = *to_take_.back();
    to_take_.pop_back();
    // What is in flight may end either way; and a crash may leave the home block torn, which only a
    // stale page may be.
    if (!of.dirty || of.in_flight != 0 || of.mark > durable_sequence) continue;
    of.dirty = false;
    to.push_back({of.index, of.entries});
  }
  return !to_take_.empty();
}

std::vector<std::uint64_t> DataChecksums::list_stale(std::uint64_t durable_sequence) {
  const std::lock_guard guard(lock_);
  std::vector<std::uint64_t> list;
  std::erase_if(unsettled_, [&](Page* of) {
    // A mark that is not durable is one that somebody waits for.
    const bool marked = of->mark != clean && of->mark > durable_sequence;
    if (of->dirty || marked) {
      of->listed = true;
      list.push_back(of->index);
      return false;
    }
    of->mark = clean;
    of->unsettled = false;
    return true;
  });
  if (planted(PlantedBug::stale_list_forgotten)) return {};
  std::sort(list.begin(), list.end());
  return list;
}

void DataChecksums::list_durable() {
  const std::lock_guard guard(lock_);
  for (Page* of : unsettled_) {
    if (!std::exchange(of->listed, false)) continue;
    of->mark = 0;
  }
}

bool DataChecksums::unsettled() const {
  const std::lock_guard guard(lock_);
  return !unsettled_.empty();
}

}  // namespace handback
