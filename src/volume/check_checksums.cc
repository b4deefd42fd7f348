// The checksums of data: the pages of what was written, and, if asked for, the data itself.
#include <absl/container/flat_hash_map.h>
#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "volume/check.h"
#include "volume/check_header.h"

namespace handback {
namespace {

constexpr std::uint64_t blocks_at_a_time = 256;
constexpr const char* unverified =
    "its blocks of data are not verified until they are written again; opening takes the page as "
    "unknown";

// A name of each inode that has one. Paths are put together for who asks, and not for all inodes:
// of directories that lie in one another, all paths are as long as the square of their number.
struct Name {
  std::uint64_t directory;
  std::string_view name;
};
using Names = absl::flat_hash_map<std::uint64_t, Name>;

Names names_of(const Metadata& metadata) {
  Names names;
  for (const auto& [directory, inode] : metadata.inodes()) {
    for (const auto& [name, ino] : inode->entries)
      names.try_emplace(ino, Name{directory, name});
  }
  return names;
}

// Empty for an inode without a name. Requires: a tree, as metadata without refusals is.
std::string path_of(const Names& names, std::uint64_t ino) {
  std::vector<std::string_view> upwards;
  for (auto at = names.find(ino); at != names.end(); at = names.find(at->second.directory))
    upwards.push_back(at->second.name);
  std::string path;
  for (auto name = upwards.rbegin(); name != upwards.rend(); ++name)
    path.append("/").append(*name);
  return path;
}

}  // namespace

std::vector<std::uint64_t> VolumeCheck::stale_checksum_pages() const {
  std::vector<std::uint64_t> pages = damaged_pages_;
  for (const PageRange& range : stale_ranges_) {
    for (std::uint64_t page = range.first; page < range.end; ++page)
      pages.push_back(page);
  }
  std::sort(pages.begin(), pages.end());
  return pages;
}

// False: it is not whole, which was listed.
bool VolumeCheck::check_checksum_page(std::span<const std::byte> block, std::uint64_t page,
                                      ChecksumEntries* entries) {
  const Layout& layout = superblock_->layout;
  const std::uint64_t address = layout.checksum_start + page;
  const auto damaged = [&](std::string_view field, std::string problem) {
    damaged_pages_.push_back(page);
    ++recovery_.checksum_pages_damaged;
    findings_.noticed(address, "checksum page", fmt::format("page {}, {}", page, field),
                      std::move(problem), unverified, Remedy::checkpoint);
    return false;
  };
  MetaHeader header;
  const MetaFault fault =
      meta_open(block, MetaType::checksum_page, address, &superblock_->volume_id, &header);
  if (fault != MetaFault::none) return damaged(field_of(fault), std::string(to_string(fault)));
  if (header.sequence != page)
    return damaged("sequence", fmt::format("is {}, but this is page {}", header.sequence, page));
  if (header.payload_bytes != meta_payload_bytes_max) {
    return damaged("payload_bytes", fmt::format("is {}, but a page has {}", header.payload_bytes,
                                                meta_payload_bytes_max));
  }
  if (const char* problem =
          checksum_page_decode(block, superblock_->volume_id, layout, page, entries);
      problem != nullptr) {
    return damaged("contents", problem);
  }
  std::vector<FieldProblem> problems;
  check_header_fields(block, header, &problems);
  for (FieldProblem& problem : problems) {
    findings_.noticed(address, "checksum page", fmt::format("page {}, {}", page, problem.field),
                      std::move(problem.problem), "none; opening does not look at it");
  }
  return true;
}

// The pages that have written blocks and are not stale. Of the others nobody reads anything.
Result<void> VolumeCheck::check_checksums() {
  const Layout& layout = superblock_->layout;
  if (layout.checksum_pages == 0 || metadata_ == nullptr || findings_.any_refused()) return {};
  stale_ranges_ = stale_pages(layout, tables_.stale, std::move(logged_stale_));
  std::vector<BlockRun> written;
  for (const auto& [ino, inode] : metadata_->inodes()) {
    for (const auto& [offset, extent] : inode->extents.all()) {
      if (!extent.unwritten) written.push_back({extent.addr, extent.count});
    }
  }
  ChecksumEntries entries;
  for (const PageRange& range : pages_of(layout, std::move(written))) {
    for (std::uint64_t first = range.first; first < range.end; first += blocks_at_a_time) {
      const std::uint64_t count = std::min(range.end - first, blocks_at_a_time);
      AlignedBuffer area(count * fs_block);
      if (Step step = read(layout.checksum_start + first, area); !step) return step;
      for (std::uint64_t i = 0; i < count; ++i) {
        if (contains(stale_ranges_, first + i)) {
          ++recovery_.checksum_pages_stale;
          continue;
        }
        const auto block = std::span<const std::byte>(area.span()).subspan(i * fs_block, fs_block);
        if (!check_checksum_page(block, first + i, &entries)) continue;
        if (check_data_) known_.emplace(first + i, std::make_unique<ChecksumEntries>(entries));
      }
    }
  }
  return check_data_ ? check_data() : Step();
}

Result<void> VolumeCheck::check_data() {
  Names names;
  for (const auto& [ino, inode] : metadata_->inodes()) {
    for (const auto& [offset, extent] : inode->extents.all()) {
      if (extent.unwritten) continue;
      for (std::uint64_t at = 0; at < extent.count; at += blocks_at_a_time) {
        const std::uint64_t count = std::min(extent.count - at, blocks_at_a_time);
        AlignedBuffer data(count * fs_block);
        if (Step step = read(extent.addr + at, data); !step) return step;
        for (std::uint64_t i = 0; i < count; ++i) {
          const std::uint64_t block = extent.addr + at + i;
          const std::uint64_t index = block - superblock_->layout.data_start;
          const auto page = known_.find(index / checksums_per_page);
          if (page == known_.end()) continue;
          const std::uint32_t known = (*page->second)[index % checksums_per_page];
          if (known == 0 || data_checksum(data.span().subspan(i * fs_block, fs_block)) == known)
            continue;
          if (names.empty()) names = names_of(*metadata_);
          const std::uint64_t from = (offset + at + i) * fs_block;
          findings_.noticed(
              block, "data",
              fmt::format("inode {} ('{}'), bytes {} to {}", ino, path_of(names, ino), from,
                          from + fs_block - 1),
              "are not as they were written: the checksum does not fit",
              "reading them fails; write them anew from a copy, and check the device");
        }
      }
    }
  }
  return {};
}

}  // namespace handback
