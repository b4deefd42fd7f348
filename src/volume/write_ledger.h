// The writes whose log record was written before their data was known to be down: what has become
// of each, and how far the log may say that they are confirmed.
//
// A record may name a write together with the checksum of its data, and both go to the device at
// the same time. Until a later record, durable itself, says that the write is confirmed, recovery
// decides by the checksum; so its blocks must not be overwritten, freed for reuse or moved.
//
// Guarded by the volume's metadata lock, except durable_confirmed(). Pure memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace handback {

class WriteLedger {
 public:
  // More than this at once makes recovery read too much: further writes go the long way.
  static constexpr std::size_t writes_max = 1024;
  static constexpr std::uint64_t data_bytes_max = std::uint64_t{32} << 20;

  explicit WriteLedger(std::uint64_t next_id)
      : next_id_(next_id), confirmed_(next_id - 1), durable_confirmed_(next_id - 1) {}

  [[nodiscard]] bool has_room(std::uint64_t data_bytes) const noexcept {
    return entries_.size() < writes_max && data_bytes_ + data_bytes <= data_bytes_max;
  }
  [[nodiscard]] std::uint64_t next_id() const noexcept { return next_id_; }
  // A write with next_id() stands in the record `sequence`.
  void add(std::uint64_t sequence, std::uint64_t data_bytes);

  // Its data is down, or failed and nobody knows what is there.
  void data_ended(std::uint64_t id, bool ok);
  // It was published in memory as the record says. False: it is unknown here (it was abandoned in
  // the meantime), and the log has to be told anew.
  [[nodiscard]] bool publish(std::uint64_t id, std::uint64_t* sequence);
  // It never happened.
  void abandon(std::uint64_t id);
  // All that are not published: what is about to be written down does not contain them, or would
  // undo them if it were replayed behind them.
  void abandon_unpublished();

  [[nodiscard]] bool data_pending(std::uint64_t sequence) const noexcept;
  void record_durable(std::uint64_t sequence) noexcept;

  // What the next record may say: all writes up to this one are confirmed, except the void ones.
  [[nodiscard]] std::uint64_t confirmed() const noexcept { return confirmed_; }
  [[nodiscard]] const std::vector<std::uint64_t>& voids() const noexcept { return voids_; }
  [[nodiscard]] std::vector<std::uint64_t> take_voids() noexcept {
    return std::exchange(voids_, {});
  }
  // The record that said so is durable.
  void confirm_durable(std::uint64_t id) noexcept;

  [[nodiscard]] std::uint64_t newest() const noexcept { return next_id_ - 1; }
  // Any thread.
  [[nodiscard]] std::uint64_t durable_confirmed() const noexcept {
    return durable_confirmed_.load(std::memory_order_acquire);
  }

  // What recovery has found out, to be written into the first record.
  void resolved_by_recovery(std::uint64_t unconfirmed_from, std::vector<std::uint64_t> voids);

 private:
  struct Entry {
    std::uint64_t id = 0;
    std::uint64_t sequence = 0;
    std::uint64_t data_bytes = 0;
    bool ended = false;
    bool published = false;
  };
  [[nodiscard]] Entry* find(std::uint64_t id) noexcept;
  void move_on() noexcept;

  std::deque<Entry> entries_;  // Not durably confirmed, in order of ids.
  std::uint64_t next_id_;
  std::uint64_t confirmed_;
  std::uint64_t data_bytes_ = 0;
  std::uint64_t durable_sequence_ = 0;
  std::vector<std::uint64_t> voids_;
  std::atomic<std::uint64_t> durable_confirmed_;
};

}  // namespace handback
