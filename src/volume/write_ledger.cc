#include "volume/write_ledger.h"

#include <algorithm>

#include "base/planted_bug.h"

namespace handback {

WriteLedger::Entry* WriteLedger::find(std::uint64_t id) noexcept {
  const auto at =
      std::lower_bound(entries_.begin(), entries_.end(), id,
                       [](const Entry& entry, std::uint64_t of) { return entry.id < of; });
  return at != entries_.end() && at->id == id ? &*at : nullptr;
}

void WriteLedger::add(std::uint64_t sequence, std::uint64_t data_bytes) {
  entries_.push_back({.id = next_id_++, .sequence = sequence, .data_bytes = data_bytes});
  data_bytes_ += data_bytes;
}

// As far as everything is down and in a durable record.
void WriteLedger::move_on() noexcept {
  for (const Entry& entry : entries_) {
    if (entry.id <= confirmed_) continue;
    if (!entry.ended && !planted(PlantedBug::ledger_confirms_what_is_in_flight)) return;
    if (entry.sequence > durable_sequence_) return;
    confirmed_ = entry.id;
  }
  // Gaps are writes that were abandoned.
  if (entries_.empty() || confirmed_ == entries_.back().id) confirmed_ = next_id_ - 1;
}

void WriteLedger::data_ended(std::uint64_t id, bool ok) {
  Entry* entry = find(id);
  if (entry == nullptr) return;
  if (!ok) {
    abandon(id);
    return;
  }
  entry->ended = true;
  move_on();
}

bool WriteLedger::publish(std::uint64_t id, std::uint64_t* sequence) {
  Entry* entry = find(id);
  if (entry == nullptr) return false;
  entry->published = true;
  *sequence = entry->sequence;
  return true;
}

void WriteLedger::abandon(std::uint64_t id) {
  Entry* entry = find(id);
  if (entry == nullptr) return;
  if (!planted(PlantedBug::ledger_forgets_voids)) voids_.push_back(id);
  data_bytes_ -= entry->data_bytes;
  entries_.erase(std::find_if(entries_.begin(), entries_.end(),
                              [&](const Entry& other) { return other.id == id; }));
  move_on();
}

void WriteLedger::abandon_unpublished() {
  if (planted(PlantedBug::ledger_checkpoint_keeps_unpublished)) return;
  std::vector<std::uint64_t> unpublished;
  for (const Entry& entry : entries_) {
    if (!entry.published) unpublished.push_back(entry.id);
  }
  for (const std::uint64_t id : unpublished)
    abandon(id);
}

bool WriteLedger::data_pending(std::uint64_t sequence) const noexcept {
  if (planted(PlantedBug::ledger_flushes_before_the_data)) return false;
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.sequence == sequence && !entry.ended;
  });
}

void WriteLedger::record_durable(std::uint64_t sequence) noexcept {
  durable_sequence_ = std::max(durable_sequence_, sequence);
  move_on();
}

void WriteLedger::confirm_durable(std::uint64_t id) noexcept {
  while (!entries_.empty() && entries_.front().id <= id && entries_.front().published) {
    data_bytes_ -= entries_.front().data_bytes;
    entries_.pop_front();
  }
  if (id > durable_confirmed()) durable_confirmed_.store(id, std::memory_order_release);
  confirmed_ = std::max(confirmed_, id);
  move_on();
}

void WriteLedger::resolved_by_recovery(std::uint64_t unconfirmed_from,
                                       std::vector<std::uint64_t> voids) {
  voids_ = std::move(voids);
  durable_confirmed_.store(unconfirmed_from - 1, std::memory_order_release);
}

}  // namespace handback
