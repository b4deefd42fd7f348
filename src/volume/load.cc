#include "volume/load.h"
#include <handback/bio_group.h>
#include "issuer/issuer_impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/planted_bug.h"
#include "volume/change.h"
#include "volume/meta_block.h"
#include "volume/replay.h"
#include "volume/snapshot.h"

namespace handback {
namespace {

// A step that cannot go on. The reason is in Loader::error_.
struct Stop {};
using Step = tl::expected<void, Stop>;

class Loader {
 public:
  Loader(Issuer& issuer, BlockDevice& device) : issuer_(issuer.impl()), device_(device) {}

  Result<LoadedVolume> run() {
    Step step = read_superblock();
    if (step) step = read_roots();
    if (step) step = read_checkpoint();
    if (step) step = check_tree();
    if (step) step = replay_log();
    if (step) step = find_free_space();
    if (step && volume_.superblock.layout.checksum_pages != 0) step = read_checksums();
    if (step) return std::move(volume_);
    return tl::unexpected<Error>(std::move(*error_));
  }

 private:
  Step damaged(std::uint64_t block, std::string_view structure, std::string_view field,
               std::string_view problem) {
    return failed(
        Error(Errc::damaged,
              fmt::format("{} (block {}), {}: {}; run 'handback check' for the whole picture",
                          structure, block, field, problem)));
  }

  Step failed(Error error) {
    error_ = std::move(error);
    return tl::unexpected(Stop{});
  }

  // Fills `to`.
  Step read(std::uint64_t block, AlignedBuffer& to) {
    BioGroup group(issuer_.self(), device_);
    group.read(block * fs_block, to.span());
    const IoResult result = group.run_and_wait();
    group.keep_if_unanswered(to);
    volume_.blocks_read += to.size() / fs_block;
    if (result.ok()) return {};
    return failed(Error(Errc::io, fmt::format("{}: reading block {} failed: {}; check the device",
                                              device_.name(), block, describe(result))));
  }

  // Bytes of the data area, also at the end of the device. False: error_ says why.
  bool read_bytes(std::uint64_t addr, std::span<std::byte> to) {
    // Of its own: the device may still write to it after the deadline.
    AlignedBuffer buffer(to.size());
    BioGroup group(issuer_.self(), device_);
    group.read(addr, buffer.span().first(to.size()));
    const IoResult result = group.run_and_wait();
    group.keep_if_unanswered(buffer);
    volume_.blocks_read += (to.size() + fs_block - 1) / fs_block;
    if (result.ok()) {
      std::copy_n(buffer.data(), to.size(), to.data());
      return true;
    }
    error_ = Error(Errc::io, fmt::format("{}: reading block {} failed: {}; check the device",
                                         device_.name(), addr / fs_block, describe(result)));
    return false;
  }

  Step read_superblock();
  Step read_roots();
  Step read_checkpoint();
  Step check_tree();
  Step replay_log();
  Step find_free_space();
  Step read_checksums();
  bool build_free_space();

  enum class Record : std::uint8_t { none, torn, good };
  Record record_at(std::span<const std::byte> log, std::uint64_t index, std::uint64_t sequence,
                   MetaHeader* header) const;
  struct RecordAt {
    std::span<const std::byte> payload;
    std::uint64_t block;
    std::uint64_t sequence;
  };
  Step read_head(const RecordAt& record, Replay& replay);
  Step apply_record(const RecordAt& record, Replay& replay);
  Step refuse_later_records(std::span<const std::byte> log);

  Issuer::Impl& issuer_;
  BlockDevice& device_;
  std::optional<Error> error_;
  LoadedVolume volume_;
  std::vector<std::uint64_t> listed_stale_;  // Checksum pages, by the checkpoint.
  std::vector<BlockRun> logged_stale_;       // Blocks, by the log.
};

Step Loader::read_superblock() {
  const std::uint64_t device_blocks = device_.geometry().size_bytes / fs_block;
  if (device_blocks == 0) {
    return failed(
        Error(Errc::invalid,
              fmt::format("{}: too short to hold a volume; is the path right?", device_.name())));
  }
  AlignedBuffer block(fs_block);
  if (Step step = read(superblock_block, block); !step) return step;
  if (planted(PlantedBug::load_writes_first)) {
    BioGroup group(issuer_.self(), device_);
    group.write(superblock_block * fs_block, block.span());
    static_cast<void>(group.run_and_wait());
  }
  auto first = superblock_decode(block.span(), superblock_block);
  if (first) {
    volume_.superblock = std::move(*first);
  } else {
    if (first.error().code() == Errc::version) return failed(std::move(first.error()));
    const std::uint64_t backup = device_blocks - 1;
    if (Step step = read(backup, block); !step) return step;
    auto second = superblock_decode(block.span(), backup);
    if (!second) {
      if (second.error().code() == Errc::version) return failed(std::move(second.error()));
      if (first.error().code() == Errc::invalid) {
        return failed(
            Error(Errc::invalid,
                  fmt::format("{}: holds no Handback volume; is the path right? 'handback format' "
                              "makes one",
                              device_.name())));
      }
      return failed(Error(Errc::damaged,
                          first.error().message() + "; the backup in the last block is no help: " +
                              second.error().message() + "; restore the volume from a copy"));
    }
    volume_.superblock = std::move(*second);
    volume_.recovery.backup_superblock_used = true;
  }
  const std::uint64_t total = volume_.superblock.layout.total_blocks;
  if (total > device_blocks) {
    return failed(Error(
        Errc::damaged,
        fmt::format("superblock (block 0), total_blocks: the volume has {} bytes but {} has only "
                    "{}: it was cut off; restore the missing end",
                    total * fs_block, device_.name(), device_.geometry().size_bytes)));
  }
  return {};
}

Step Loader::read_roots() {
  std::optional<Root> best;
  std::array<std::string, 2> problems;
  AlignedBuffer block(fs_block);
  for (std::size_t i = 0; i < root_blocks.size(); ++i) {
    if (Step step = read(root_blocks[i], block); !step) return step;
    auto root = root_decode(block.span(), volume_.superblock, root_blocks[i]);
    if (!root) {
      problems[i] = root.error().message();
    } else if (!best || (planted(PlantedBug::load_takes_the_older_root)
                             ? root->generation < best->generation
                             : root->generation > best->generation)) {
      best = *root;
      // The other is damaged, or older and names the area of the next checkpoint: should the write
      // of a root be cut off, it must not be of this one.
      best->write_first = static_cast<std::uint32_t>(1 - i);
    } else if (root->generation == best->generation) {
      best->write_first = 0;
    }
  }
  if (!best) {
    return damaged(root_blocks[0], "root", "both copies", problems[0] + "; " + problems[1]);
  }
  volume_.root = *best;
  volume_.recovery.checkpoint_generation = best->generation;
  return {};
}

Step Loader::read_checkpoint() {
  const Root& root = volume_.root;
  const std::uint64_t blocks =
      (root.checkpoint_bytes + meta_payload_bytes_max - 1) / meta_payload_bytes_max;
  const std::uint64_t start = volume_.superblock.layout.slot_start[root.slot];
  AlignedBuffer area(blocks * fs_block);
  if (Step step = read(start, area); !step) return step;
  std::vector<std::byte> payload;
  payload.reserve(root.checkpoint_bytes);
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const auto block = std::span<const std::byte>(area.span()).subspan(i * fs_block, fs_block);
    MetaHeader header;
    const MetaFault fault =
        meta_open(block, MetaType::checkpoint, start + i, &volume_.superblock.volume_id, &header);
    if (fault != MetaFault::none) {
      return damaged(start + i, "checkpoint", "block", std::string(to_string(fault)));
    }
    if ((header.generation != root.generation && !planted(PlantedBug::load_generation_unchecked)) ||
        header.sequence != i) {
      return damaged(start + i, "checkpoint", "generation and sequence",
                     fmt::format("{}/{} instead of {}/{}: a write was lost", header.generation,
                                 header.sequence, root.generation, i));
    }
    const auto bytes = meta_payload(block, header);
    payload.insert(payload.end(), bytes.begin(), bytes.end());
  }
  if (payload.size() != root.checkpoint_bytes) {
    return damaged(start, "checkpoint", "length",
                   fmt::format("{} bytes instead of {}", payload.size(), root.checkpoint_bytes));
  }
  volume_.metadata = std::make_unique<Metadata>();
  if (const std::string problem =
          snapshot_decode(payload, volume_.metadata.get(), volume_.superblock.layout.checksum_pages,
                          &listed_stale_);
      !problem.empty()) {
    volume_.metadata = std::make_unique<Metadata>();
    return damaged(start, "checkpoint", "contents", problem);
  }
  return {};
}

// Every inode has exactly the names it says, every directory exactly one, and all hang together.
Step Loader::check_tree() {
  Metadata& metadata = *volume_.metadata;
  const std::uint64_t block = volume_.superblock.layout.slot_start[volume_.root.slot];
  absl::btree_map<std::uint64_t, std::uint64_t> names;  // ino -> how many
  std::vector<Inode*> line{&metadata.root()};
  metadata.root().parent = root_ino;
  names[root_ino] = 1;
  for (std::size_t next = 0; next < line.size(); ++next) {
    Inode& directory = *line[next];
    for (const auto& [name, ino] : directory.entries) {
      Inode* child = metadata.find(ino);
      if (child == nullptr) {
        return damaged(block, "directory", fmt::format("inode {}, entry '{}'", directory.ino, name),
                       fmt::format("names inode {}, which does not exist", ino));
      }
      const std::uint64_t count = ++names[ino];
      if (child->type != FileType::directory) continue;
      if (count > 1) {
        return damaged(block, "directory", fmt::format("inode {}, entry '{}'", directory.ino, name),
                       fmt::format("directory {} has more than one name", ino));
      }
      child->parent = directory.ino;
      line.push_back(child);
    }
  }
  for (const auto& [ino, inode] : metadata.inodes()) {
    const auto found = names.find(ino);
    const std::uint64_t count = found == names.end() ? 0 : found->second;
    if (count == inode->nlink || planted(PlantedBug::load_nlink_unchecked)) continue;
    return damaged(block, "inode", fmt::format("inode {}, nlink", ino),
                   fmt::format("is {}, but {} names lead there", inode->nlink, count));
  }
  return {};
}

Loader::Record Loader::record_at(std::span<const std::byte> log, std::uint64_t index,
                                 std::uint64_t sequence, MetaHeader* header) const {
  const auto rest = log.subspan(index * fs_block);
  const std::uint64_t address = volume_.superblock.layout.log_start + index;
  if (meta_peek(rest, MetaType::log_record, address, header) != MetaFault::none)
    return Record::none;
  if (header->volume_id != volume_.superblock.volume_id || header->sequence != sequence)
    return Record::none;
  if (meta_blocks(header->payload_bytes) > log_record_blocks_max) return Record::torn;
  const MetaFault fault =
      meta_open(rest, MetaType::log_record, address, &volume_.superblock.volume_id, header);
  return fault == MetaFault::none ? Record::good : Record::torn;
}

// What a record says of writes before it.
Step Loader::read_head(const RecordAt& record, Replay& replay) {
  ByteReader in(record.payload);
  static_cast<void>(in.get<std::uint32_t>());
  const auto confirmed = in.get<std::uint64_t>();
  const auto void_count = in.get<std::uint32_t>();
  if (!in.ok() || void_count > in.remaining() / sizeof(std::uint64_t) ||
      confirmed >= std::uint64_t{1} << 62) {
    return damaged(record.block, "log", fmt::format("record {}, head", record.sequence),
                   "a number is out of bounds");
  }
  std::vector<std::uint64_t> voids(void_count);
  for (std::uint64_t& id : voids)
    id = in.get<std::uint64_t>();
  replay.note_head(confirmed, voids);
  return {};
}

Step Loader::apply_record(const RecordAt& record, Replay& replay) {
  ByteReader in(record.payload);
  const auto count = in.get<std::uint32_t>();
  static_cast<void>(in.get<std::uint64_t>());
  static_cast<void>(in.get_bytes(in.get<std::uint32_t>() * sizeof(std::uint64_t)));
  for (std::uint32_t i = 0; i < count; ++i) {
    Change change;
    const char* problem = "the bytes are no change";
    if (change_decode(in, &change)) problem = replay.apply(change);
    if (replay.read_failed()) return tl::unexpected(Stop{});
    if (problem != nullptr) {
      return damaged(record.block, "log",
                     fmt::format("record {}, change {} of {} ({})", record.sequence, i + 1, count,
                                 to_string(change.kind)),
                     problem);
    }
  }
  if (!in.ok() || in.remaining() != 0) {
    return damaged(record.block, "log", fmt::format("record {}, length", record.sequence),
                   "bytes are missing or left over");
  }
  volume_.recovery.changes_replayed += count;
  return {};
}

Step Loader::replay_log() {
  const Layout& layout = volume_.superblock.layout;
  AlignedBuffer area(layout.log_blocks * fs_block);
  if (Step step = read(layout.log_start, area); !step) return step;
  const std::span<const std::byte> log = area.span();
  std::uint64_t position = volume_.root.log_position;
  std::uint64_t sequence = volume_.root.log_sequence;
  bool torn = false;
  std::vector<RecordAt> records;
  Replay replay(*volume_.metadata, volume_.root.next_write_id, layout.data_start * fs_block,
                layout.data_end * fs_block, [this](std::uint64_t addr, std::span<std::byte> to) {
                  return read_bytes(addr, to);
                });
  if (layout.checksum_pages != 0) replay.track_stale(layout, &logged_stale_);
  for (;;) {
    MetaHeader header;
    std::uint64_t index = position % layout.log_blocks;
    Record record = record_at(log, index, sequence, &header);
    torn = record == Record::torn;
    if (record != Record::good && index != 0 &&
        !planted(PlantedBug::load_ends_where_the_log_wraps)) {
      // A record that did not fit before the end of the area stands at its start.
      MetaHeader wrapped;
      record = record_at(log, 0, sequence, &wrapped);
      torn |= record == Record::torn;
      if (record == Record::good) {
        position += layout.log_blocks - index;
        index = 0;
        header = wrapped;
      }
    }
    if (record != Record::good) break;
    const auto payload = meta_payload(log.subspan(index * fs_block), header);
    records.push_back({payload, layout.log_start + index, sequence});
    if (Step step = read_head(records.back(), replay); !step) return step;
    position += meta_blocks(header.payload_bytes);
    ++sequence;
    ++volume_.recovery.records_replayed;
  }
  for (const RecordAt& record : records) {
    if (Step step = apply_record(record, replay); !step) return step;
  }
  volume_.next_write_id = replay.next_write_id();
  volume_.unconfirmed_from = replay.unconfirmed_from();
  volume_.voids = replay.dropped();
  volume_.recovery.writes_checked = replay.checked_count();
  volume_.recovery.writes_dropped = volume_.voids.size();
  volume_.recovery.torn_record_dropped = torn;
  volume_.recovery.clean = volume_.recovery.records_replayed == 0 && !torn;
  volume_.log_head = position;
  volume_.next_sequence = sequence;
  return refuse_later_records(log);
}

// One record is written at a time, and the next only when it is durable: a good record beyond the
// end of the replay means that one before it was durable and is lost.
Step Loader::refuse_later_records(std::span<const std::byte> log) {
  if (planted(PlantedBug::load_accepts_later_records)) return {};
  const Layout& layout = volume_.superblock.layout;
  for (std::uint64_t index = 0; index < layout.log_blocks; ++index) {
    const std::uint64_t address = layout.log_start + index;
    const auto rest = log.subspan(index * fs_block);
    MetaHeader header;
    if (meta_peek(rest, MetaType::log_record, address, &header) != MetaFault::none) continue;
    if (header.volume_id != volume_.superblock.volume_id || header.sequence < volume_.next_sequence)
      continue;
    if (meta_blocks(header.payload_bytes) > log_record_blocks_max ||
        meta_open(rest, MetaType::log_record, address, &volume_.superblock.volume_id, &header) !=
            MetaFault::none) {
      continue;
    }
    return damaged(
        address, "log", fmt::format("record {}", volume_.next_sequence),
        fmt::format(
            "is missing or damaged, but the later record {} is there: durable changes were lost",
            header.sequence));
  }
  return {};
}

// At once, from all that is used. False: that cannot be.
bool Loader::build_free_space() {
  const Layout& layout = volume_.superblock.layout;
  std::vector<BlockRun> used;
  used.reserve(volume_.metadata->extent_count());
  for (const auto& [ino, inode] : volume_.metadata->inodes()) {
    for (const auto& [offset, extent] : inode->extents.all())
      used.push_back({extent.addr, extent.count});
  }
  const auto by_addr = [](const BlockRun& a, const BlockRun& b) { return a.addr < b.addr; };
  if (!std::is_sorted(used.begin(), used.end(), by_addr))
    std::sort(used.begin(), used.end(), by_addr);
  std::uint64_t end = layout.data_start;
  for (const BlockRun& run : used) {
    if (planted(PlantedBug::load_misses_overlaps)) end = std::min(end, run.addr);
    if (run.addr < end || run.addr >= layout.data_end || run.count > layout.data_end - run.addr)
      return false;
    end = run.addr + run.count;
  }
  volume_.allocator = std::make_unique<Allocator>(layout.data_start, layout.data_end, used);
  return true;
}

Step Loader::find_free_space() {
  const Layout& layout = volume_.superblock.layout;
  // A writer never lets it come to this: the next checkpoint would not fit.
  if (volume_.metadata->snapshot_bytes() > snapshot_bytes_max(layout)) {
    return damaged(layout.log_start, "log", "changes",
                   "they leave more metadata than a checkpoint area holds");
  }
  if (build_free_space()) return {};
  // Something is wrong: one by one, to say what.
  volume_.allocator = std::make_unique<Allocator>(layout.data_start, layout.data_end);
  for (const auto& [ino, inode] : volume_.metadata->inodes()) {
    for (const auto& [offset, extent] : inode->extents.all()) {
      if (volume_.allocator->reserve({extent.addr, extent.count})) continue;
      if (planted(PlantedBug::load_overlap_unchecked)) continue;
      const bool inside = extent.addr >= layout.data_start && extent.addr < layout.data_end &&
                          extent.count <= layout.data_end - extent.addr;
      return damaged(extent.addr, "extent", fmt::format("inode {}, file block {}", ino, offset),
                     inside ? "overlaps another extent" : "lies outside the data area");
    }
  }
  return {};
}

// The pages of all that was written. What is stale, or damaged, is unknown: that costs nothing but
// protection.
Step Loader::read_checksums() {
  constexpr std::uint64_t pages_at_a_time = 256;
  const Superblock& superblock = volume_.superblock;
  const Layout& layout = superblock.layout;
  std::vector<BlockRun> written;
  for (const auto& [ino, inode] : volume_.metadata->inodes()) {
    for (const auto& [offset, extent] : inode->extents.all()) {
      if (!extent.unwritten) written.push_back({extent.addr, extent.count});
    }
  }
  const std::vector<PageRange> stale = stale_pages(layout, listed_stale_, std::move(logged_stale_));
  volume_.checksums = std::make_unique<DataChecksums>(layout);
  DataChecksums& checksums = *volume_.checksums;
  ChecksumEntries entries;
  for (const PageRange& range : pages_of(layout, std::move(written))) {
    for (std::uint64_t first = range.first; first < range.end; first += pages_at_a_time) {
      const std::uint64_t count = std::min(range.end - first, pages_at_a_time);
      AlignedBuffer area(count * fs_block);
      if (Step step = read(layout.checksum_start + first, area); !step) return step;
      for (std::uint64_t i = 0; i < count; ++i) {
        if (contains(stale, first + i)) {
          ++volume_.recovery.checksum_pages_stale;
          checksums.add_unknown(first + i, true);
        } else if (checksum_page_decode(area.span().subspan(i * fs_block, fs_block),
                                        superblock.volume_id, layout, first + i,
                                        &entries) != nullptr) {
          ++volume_.recovery.checksum_pages_damaged;
          checksums.add_unknown(first + i, false);
        } else {
          checksums.add_known(first + i, entries);
        }
      }
    }
  }
  return {};
}

}  // namespace

Result<LoadedVolume> load_volume(Issuer& issuer, BlockDevice& device) {
  return Loader(issuer, device).run();
}

const char* numbers_used_up(const LoadedVolume& volume) noexcept {
  // More than any session makes.
  constexpr std::uint64_t room = std::uint64_t{1} << 48;
  constexpr std::uint64_t largest = (std::uint64_t{1} << 62) - room;
  if (volume.root.generation > largest) return "generation";
  if (volume.log_head > largest) return "log_position";
  if (volume.next_sequence > largest) return "log_sequence";
  if (volume.next_write_id > largest) return "next_write_id";
  if (volume.metadata->next_ino() > ino_max - room) return "next_ino";
  return nullptr;
}

VolumeInfo volume_info(const Superblock& superblock, const Metadata& metadata,
                       std::uint64_t free_blocks, std::uint64_t log_used_blocks) {
  const Layout& layout = superblock.layout;
  VolumeInfo info;
  info.label = superblock.label;
  info.id = volume_id_text(superblock.volume_id);
  info.version_major = superblock.version_major;
  info.version_minor = superblock.version_minor;
  info.fs_block_bytes = superblock.fs_block_bytes;
  info.data_checksums = layout.checksum_pages != 0;
  info.size_bytes = layout.total_blocks * fs_block;
  info.data_bytes = (layout.data_end - layout.data_start) * fs_block;
  info.free_bytes = free_blocks * fs_block;
  info.metadata_bytes = metadata.snapshot_bytes();
  info.metadata_bytes_max = snapshot_bytes_max(layout);
  info.log_bytes = layout.log_blocks * fs_block;
  info.log_used_bytes = log_used_blocks * fs_block;
  info.file_count = metadata.file_count();
  info.directory_count = metadata.directory_count();
  info.extent_count = metadata.extent_count();
  info.extent_memory_bytes = counted_memory_bytes.load(std::memory_order_relaxed);
  return info;
}

}  // namespace handback
