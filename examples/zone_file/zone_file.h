// A file that is written from its start to its end, once: a zone of a device, after the kernel's
// zonefs. An example of a file of one's own on the direct-I/O engine; docs/examples.md explains it.
//
// A zone is a run of bytes of a block device: one header block, then the file's data. Writes go to
// the write pointer, many in flight at once, and may end in any order; the file's size is the end
// of the prefix in which every write has ended well. reset() empties the file, finish() closes it.
//
// What is promised:
//  - A write elsewhere than at the write pointer is refused, and changes nothing.
//  - A DSYNC write that is acknowledged, and whatever was in the file when sync() or finish()
//    returned, is there when the zone is opened again, and so is everything before it. After a
//    crash the file ends at the last such point; no byte beyond what was written is ever read.
//  - A write without DSYNC that is acknowledged is readable once all writes before it have ended,
//    and durable with the next sync. If a write before it fails, it is lost with that one: a zone
//    has no holes. The writers of all other writes behind the failed one are told.
//  - After a failed write the zone takes no writes until those in flight have ended and its header
//    was read again. Then it goes on where the good prefix ends; or it is read-only, if the header
//    cannot be read or is not what this object wrote last. A header write or a flush that fails
//    makes it read-only at once. reset() makes a read-only zone writable again.
//
// Owner: the caller, which keeps device and zone for itself; nothing may be in flight when it goes.
// Thread class: any thread, each with an issuer of its own.
#pragma once

#include <handback/bio_group.h>
#include <handback/iomap.h>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "zone_file/zone_header.h"

namespace examples {

struct ZoneRange {
  std::uint64_t addr = 0;        // Byte on the device. A multiple of the logical block.
  std::uint64_t zone_bytes = 0;  // Header included: at least two logical blocks, a multiple of one.
};

enum class ZoneState : std::uint8_t {
  open,       // Takes writes.
  suspect,    // A write failed; what is in flight has to end, and the header is read again.
  closing,    // Somebody resets or finishes it.
  finished,   // Takes no more writes until it is reset.
  read_only,  // Its state on the device is in doubt.
};

struct ZoneStatus {
  ZoneState state = ZoneState::open;
  std::uint64_t size_bytes = 0;      // Readable.
  std::uint64_t write_pointer = 0;   // Where the next write goes: size_bytes and what is in flight.
  std::uint64_t durable_bytes = 0;   // There when the zone is opened again.
  std::uint64_t capacity_bytes = 0;  // The largest size.
  handback::IoResult error;          // Of the failure that made it suspect or read-only.
  std::uint64_t recoveries = 0;      // Times the header was read again.
  std::uint64_t read_errors = 0;
};

class ZoneFile : public handback::File, private handback::IomapOps, private handback::DioOps {
 public:
  // Writes the header of an empty zone. Errors: invalid (the range), read_only, io.
  [[nodiscard]] static handback::Result<std::unique_ptr<ZoneFile>> create(
      handback::Issuer& issuer, handback::BlockDevice& device, const ZoneRange& range);
  // Reads the header. Errors: invalid (the range), damaged (no header of this range), io.
  [[nodiscard]] static handback::Result<std::unique_ptr<ZoneFile>> open(
      handback::Issuer& issuer, handback::BlockDevice& device, const ZoneRange& range);
  ~ZoneFile() override = default;

  // Errors: as dio_rw().
  handback::Outcome read_iter(handback::Kiocb& kiocb, handback::IovView to) noexcept override;
  // Errors: as dio_rw(); invalid with offset_not_next; no_space (beyond the capacity, or finished);
  // busy (suspect or closing: again when what is in flight has ended); read_only; not_supported for
  // NOWAIT; the error of an earlier write that takes this one with it.
  handback::Outcome write_iter(handback::Kiocb& kiocb, handback::IovView from) noexcept override;

  // Makes durable what is in the file now. Task context. Errors: read_only, io.
  handback::IoResult sync(handback::Issuer& issuer);
  // Empties the file, or closes it with what is in it, durably. Waits for the requests in flight;
  // writes that come meanwhile are refused. Task context. Errors: busy (somebody else is at it),
  // read_only (finish() only), io (the zone is read-only then).
  handback::IoResult reset(handback::Issuer& issuer);
  handback::IoResult finish(handback::Issuer& issuer);

  [[nodiscard]] ZoneStatus status() const;

 protected:
  // For tests, which plant mistakes in a handler: what it declares must be what it does.
  ZoneFile(handback::BlockDevice& device, const ZoneRange& range, const ZoneHeader& header,
           const handback::HandlerContract& contract);
  [[nodiscard]] static const handback::HandlerContract& usual_contract() noexcept;

  handback::Outcome end_io(handback::Kiocb& kiocb, const handback::DioEnd& end) noexcept override;
  [[nodiscard]] handback::RankedMutex& mutex() const noexcept { return mutex_; }

 private:
  enum class Fate : std::uint8_t { in_flight, written, lost };
  // A write from its reservation until the size covers it, or it is forgotten.
  struct Write {
    std::uint64_t offset;
    std::uint64_t end;
    Fate fate = Fate::in_flight;
  };
  // A DSYNC write between its end_io and the end of its write_sync.
  struct Sync {
    handback::Kiocb* kiocb = nullptr;
    std::uint64_t end = 0;
    bool waiting = false;                       // write_sync was called and said NotFinal.
    handback::IoResult result;                  // If all goes well.
    std::optional<handback::IoResult> verdict;  // Lost before write_sync was called.
  };
  // Requests that go on once the mutex is free, and with what.
  struct Ended {
    handback::Kiocb* kiocb = nullptr;
    handback::IoResult result;
  };
  using EndedList = std::vector<Ended>;

  enum class HeaderUse : std::uint8_t {
    none,
    by_caller,  // By a blocking call.
    flushing,   // The data a commit is about.
    writing,
    flushing_header,  // Where there is no FUA.
    reading,          // Recovery.
  };

  handback::IoResult iomap_begin(handback::Kiocb& kiocb, const handback::IomapRequest& asked,
                                 handback::Iomap* iomap) noexcept override;
  [[nodiscard]] std::uint32_t fs_block_bytes() const noexcept override { return block_bytes_; }
  handback::Outcome write_sync(handback::Kiocb& kiocb,
                               const handback::DioEnd& end) noexcept override;
  [[nodiscard]] bool is_extending(std::uint64_t end_offset) const noexcept override {
    return end_offset > size_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override {
    return size_.load(std::memory_order_acquire);
  }
  [[nodiscard]] handback::DioRequest request() noexcept;

  // With the mutex held:
  handback::IoResult reserve(handback::Kiocb& kiocb, std::uint64_t length);
  handback::IoResult settle_write(const handback::DioEnd& end);
  void forget_lost(EndedList& ended);
  void become_read_only(handback::IoResult error, EndedList& ended);
  void end_syncs(EndedList& ended, std::uint64_t offset, handback::IoResult error);
  [[nodiscard]] handback::Kiocb* waiting_sync(std::uint64_t offset) const;
  [[nodiscard]] ZoneHeader header_now() const;
  HeaderUse take_next_use();
  HeaderUse header_step_ended(handback::IoResult result, EndedList& ended);
  void header_is_durable(EndedList& ended);
  void recovered(handback::IoResult result, EndedList& ended);

  // Without it:
  void use_header(handback::Issuer& issuer) noexcept;
  void start_header_io(handback::Issuer& issuer, HeaderUse use) noexcept;
  void header_io_ended(handback::IoResult result) noexcept;
  static void end_all(const EndedList& ended) noexcept;
  void take_header(handback::Issuer& issuer, bool quiet);
  [[nodiscard]] bool writes_through() const noexcept;
  [[nodiscard]] std::span<std::byte> header_block();
  handback::IoResult write_header_and_wait(handback::Issuer& issuer, bool flush_first);
  handback::IoResult close_zone(handback::Issuer& issuer, bool empty_it);
  handback::IoResult close_drained(handback::Issuer& issuer, bool empty_it);

  handback::BlockDevice& device_;
  const ZoneRange range_;
  const std::uint32_t block_bytes_;
  const std::uint64_t capacity_;
  handback::DioInflight inflight_;

  mutable handback::RankedMutex mutex_{handback::LockRank::handler};
  // Read without the mutex by the engine, in any context; changed with it.
  std::atomic<std::uint64_t> size_;
  // With the mutex:
  ZoneState state_;       // open, finished or read_only.
  bool suspect_ = false;  // A write failed, and the recovery has not ended.
  bool closing_ = false;  // reset() or finish() is under way.
  std::uint64_t generation_;
  std::uint64_t reserved_;       // Where the next write goes.
  std::uint64_t durable_;        // The write pointer on the device.
  std::deque<Write> writes_;     // Those that size_ does not cover yet, by offset.
  std::uint64_t in_flight_ = 0;  // Of writes_.
  std::vector<Sync> syncs_;
  handback::IoResult error_;
  std::uint64_t lost_from_ = 0;  // While suspect: the lowest offset of a failed write.
  Ended recovery_;               // The last write to settle, which goes on after the recovery.
  std::uint64_t recoveries_ = 0;
  std::uint64_t read_errors_ = 0;

  HeaderUse header_use_ = HeaderUse::none;  // With the mutex. Whoever set it owns what follows.
  ZoneHeader header_written_;               // The last one that is on the device.
  ZoneHeader header_new_;
  handback::AlignedBuffer header_block_;
  std::optional<handback::BioGroup> header_io_;
};

}  // namespace examples
