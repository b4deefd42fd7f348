// The log: what the ring holds, the run of records that counts, and what they do.
#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "volume/change.h"
#include "volume/check.h"
#include "volume/check_header.h"
#include "volume/replay.h"

namespace handback {

class VolumeCheck::Log {
 public:
  explicit Log(VolumeCheck& check)
      : check_(check),
        findings_(check.findings_),
        layout_(check.superblock_->layout),
        area_(layout_.log_blocks * fs_block) {}

  Step run() {
    if (Step step = check_.read(layout_.log_start, area_); !step) return step;
    follow();
    for (const Record& record : records_)
      check_head(record);
    if (Step step = replay(); !step) return step;
    look_for_others();
    check_.log_head_ = position_;
    check_.next_sequence_ = sequence_;
    return {};
  }

 private:
  enum class State : std::uint8_t { none, torn, good };
  struct Record {
    std::uint64_t block = 0;
    std::uint64_t sequence = 0;
    std::span<const std::byte> payload;
  };

  [[nodiscard]] std::span<const std::byte> from(std::uint64_t index) const {
    return std::span<const std::byte>(area_.span()).subspan(index * fs_block);
  }

  // What stands at this block of the area, of this volume's records.
  State look(std::uint64_t index, MetaHeader* header) const {
    const std::uint64_t address = layout_.log_start + index;
    if (meta_peek(from(index), MetaType::log_record, address, header) != MetaFault::none ||
        header->volume_id != check_.superblock_->volume_id) {
      return State::none;
    }
    if (meta_blocks(header->payload_bytes) > log_record_blocks_max) return State::torn;
    const MetaFault fault = meta_open(from(index), MetaType::log_record, address,
                                      &check_.superblock_->volume_id, header);
    return fault == MetaFault::none ? State::good : State::torn;
  }
  State look_for(std::uint64_t index, std::uint64_t sequence, MetaHeader* header) const {
    const std::uint64_t address = layout_.log_start + index;
    if (meta_peek(from(index), MetaType::log_record, address, header) != MetaFault::none ||
        header->sequence != sequence) {
      return State::none;
    }
    return look(index, header);
  }

  // Along the records that count, to the end.
  void follow() {
    position_ = check_.root_->log_position;
    sequence_ = check_.root_->log_sequence;
    for (;;) {
      MetaHeader header;
      std::uint64_t index = position_ % layout_.log_blocks;
      State state = look_for(index, sequence_, &header);
      std::optional<std::uint64_t> torn;
      if (state == State::torn) torn = index;
      if (state != State::good && index != 0) {
        // A record that did not fit before the end of the area stands at its start.
        state = look_for(0, sequence_, &header);
        if (state == State::torn) torn = 0;
        if (state == State::good) {
          position_ += layout_.log_blocks - index;
          index = 0;
        }
      }
      if (state != State::good) {
        if (torn) check_.torn_block_ = layout_.log_start + *torn;
        break;
      }
      const std::uint64_t blocks = meta_blocks(header.payload_bytes);
      std::vector<FieldProblem> problems;
      check_header_fields(from(index).first(blocks * fs_block), header, &problems);
      for (FieldProblem& problem : problems) {
        findings_.noticed(layout_.log_start + index, "log",
                          fmt::format("record {}, {}", sequence_, problem.field),
                          std::move(problem.problem), "none; opening does not look at it");
      }
      records_.push_back({layout_.log_start + index, sequence_, meta_payload(from(index), header)});
      position_ += blocks;
      ++sequence_;
    }
    check_.recovery_.records_replayed = records_.size();
    check_.recovery_.torn_record_dropped = check_.torn_block_.has_value();
    check_.recovery_.clean = records_.empty() && !check_.torn_block_;
  }

  void check_head(const Record& record) {
    ByteReader in(record.payload);
    static_cast<void>(in.get<std::uint32_t>());
    const auto confirmed = in.get<std::uint64_t>();
    const auto void_count = in.get<std::uint32_t>();
    const auto refused = [&](const char* field, std::string problem) {
      heads_are_good_ = false;
      findings_.refused(record.block, "log", fmt::format("record {}, {}", record.sequence, field),
                        std::move(problem));
    };
    if (!in.ok()) return refused("head", "the bytes end within it");
    if (confirmed >= std::uint64_t{1} << 62)
      refused("confirmed", fmt::format("is {}, which is out of bounds", confirmed));
    if (void_count > in.remaining() / sizeof(std::uint64_t)) {
      return refused("void_count",
                     fmt::format("is {}, more than the record has room for", void_count));
    }
    std::vector<std::uint64_t> voids(void_count);
    for (std::uint64_t& id : voids)
      id = in.get<std::uint64_t>();
    heads_.push_back({confirmed, std::move(voids)});
  }

  Step replay() {
    Metadata nothing;
    const bool apply = check_.metadata_ != nullptr && heads_are_good_ && can_be_applied();
    Metadata& metadata = apply ? *check_.metadata_ : nothing;
    Replay replay(metadata, check_.root_->next_write_id, layout_.data_start * fs_block,
                  layout_.data_end * fs_block, [this](std::uint64_t addr, std::span<std::byte> to) {
                    return check_.read_bytes(addr, to);
                  });
    if (layout_.checksum_pages != 0) replay.track_stale(layout_, &check_.logged_stale_);
    for (const auto& [confirmed, voids] : heads_)
      replay.note_head(confirmed, voids);
    bool applying = apply;
    for (std::size_t i = 0; i < records_.size(); ++i) {
      const std::uint64_t changes = check_changes(records_[i], applying ? &replay : nullptr);
      if (check_.read_error_) return tl::unexpected<Error>(std::move(*check_.read_error_));
      if (changes_failed_) applying = false;
      check_.recovery_.changes_replayed += changes;
    }
    if (applying) {
      if (metadata.snapshot_bytes() > snapshot_bytes_max(layout_)) {
        findings_.refused(layout_.log_start, "log", "changes",
                          fmt::format("they leave {} bytes of metadata, more than a checkpoint "
                                      "area holds",
                                      metadata.snapshot_bytes()));
      }
      check_claims(replay.next_write_id());
    } else {
      check_.metadata_ = nullptr;
    }
    check_.next_write_id_ = replay.next_write_id();
    check_.recovery_.writes_checked = replay.checked_count();
    check_.recovery_.writes_dropped = applying ? replay.dropped().size() : 0;
    return {};
  }

  // Of a tree with holes nobody can say what a change makes. (Counts were corrected.)
  [[nodiscard]] bool can_be_applied() const {
    for (std::size_t i = 0; i < findings_.list().size(); ++i) {
      const CheckFinding& finding = findings_.list()[i];
      if (finding.refuses_open && findings_.remedy(i) == Remedy::none && finding.structure != "log")
        return false;
    }
    return findings_.total() == findings_.list().size();
  }

  // What heads say of writes that no record has named.
  void check_claims(std::uint64_t next_write_id) {
    for (std::size_t i = 0; i < records_.size(); ++i) {
      const Record& record = records_[i];
      const auto& [confirmed, voids] = heads_[i];
      if (confirmed >= next_write_id) {
        findings_.noticed(
            record.block, "log", fmt::format("record {}, confirmed", record.sequence),
            fmt::format("is {}, but the next write has the number {}", confirmed, next_write_id),
            "a write is taken as durable without a look at its data");
      }
      for (const std::uint64_t id : voids) {
        if (id < next_write_id) continue;
        findings_.noticed(record.block, "log", fmt::format("record {}, voids", record.sequence),
                          fmt::format("name write {}, which no record has", id),
                          "a write that is made later is left out");
      }
    }
  }

  // Returns how many changes there are.
  std::uint64_t check_changes(const Record& record, Replay* replay) {
    ByteReader in(record.payload);
    const auto count = in.get<std::uint32_t>();
    static_cast<void>(in.get<std::uint64_t>());
    static_cast<void>(in.get_bytes(in.get<std::uint32_t>() * sizeof(std::uint64_t)));
    if (!in.ok()) return 0;  // Said of its head.
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::size_t at = in.position();
      const auto refused = [&](std::string_view kind, std::string problem) {
        changes_failed_ = true;
        findings_.refused(
            record.block + (meta_header_bytes + at) / fs_block, "log",
            fmt::format("record {}, change {} of {} ({})", record.sequence, i + 1, count, kind),
            std::move(problem));
      };
      Change change;
      if (!change_decode(in, &change)) {
        refused(to_string(change.kind), in.ok() ? "the bytes are no change"
                                                : "the bytes are no change: they end within it");
        return count;
      }
      if (change.kind == ChangeKind::write) check_pieces(record, change, i);
      if (replay == nullptr || changes_failed_) continue;
      const char* problem = replay->apply(change);
      if (replay->read_failed()) return count;
      if (problem != nullptr) refused(to_string(change.kind), problem);
    }
    if (in.remaining() != 0) {
      changes_failed_ = true;
      findings_.refused(record.block, "log",
                        fmt::format("record {}, change_count", record.sequence),
                        fmt::format("is {}, but {} bytes are left over behind these changes", count,
                                    in.remaining()));
    }
    return count;
  }

  void check_pieces(const Record& record, const Change& change, std::uint32_t i) {
    for (std::size_t at = write_piece_bytes - 1; at < change.encoded_pieces.size();
         at += write_piece_bytes) {
      if (change.encoded_pieces[at] <= std::byte{1}) continue;
      findings_.noticed(record.block, "log",
                        fmt::format("record {}, change {} (write), maps", record.sequence, i + 1),
                        "is neither 0 nor 1", "taken as 1");
    }
  }

  // One record is written at a time, and the next only when it is durable. So a later one than
  // those that count says that one before it is lost.
  void look_for_others() {
    for (std::uint64_t index = 0; index < layout_.log_blocks; ++index) {
      MetaHeader header;
      if (meta_peek(from(index), MetaType::log_record, layout_.log_start + index, &header) !=
              MetaFault::none ||
          header.sequence < sequence_ || look(index, &header) != State::good) {
        continue;
      }
      findings_.refused(
          layout_.log_start + index, "log", fmt::format("record {}", sequence_),
          fmt::format(
              "is missing or damaged, but the later record {} is there: durable changes were lost",
              header.sequence));
    }
  }

  VolumeCheck& check_;
  Findings& findings_;
  const Layout& layout_;
  AlignedBuffer area_;
  std::uint64_t position_ = 0;
  std::uint64_t sequence_ = 0;
  std::vector<Record> records_;
  std::vector<std::pair<std::uint64_t, std::vector<std::uint64_t>>> heads_;
  bool heads_are_good_ = true;
  bool changes_failed_ = false;
};

Result<void> VolumeCheck::check_log() {
  return Log(*this).run();
}

}  // namespace handback
