#include "kill_loops/slot_writer.h"

#include <algorithm>

#include "common/failure.h"
#include "kill_loops/names.h"
#include "kill_loops/unit_content.h"

namespace tool::kill_loops {
namespace {

constexpr unsigned in_flight_max = 4;
constexpr std::uint32_t run_units_max = 8;

handback::IoResult run_all(handback::Issuer& issuer, handback::Aiocb* requests, unsigned count) {
  while (issuer.in_flight() != 0)
    issuer.wait();
  for (unsigned i = 0; i < count; ++i) {
    if (!requests[i].result.ok()) return requests[i].result;
  }
  return requests[0].result;
}

}  // namespace

SlotWriter::SlotWriter(handback::Volume& volume, handback::Issuer& issuer, SharedState& shared,
                       unsigned thread, const WriterOptions& options)
    : volume_(volume),
      issuer_(issuer),
      shared_(shared),
      thread_(thread),
      lies_(options.lies),
      unit_bytes_(volume.device().geometry().logical_block_bytes),
      random_(options.seed * 64 + thread),
      memory_(std::size_t{in_flight_max} * run_units_max * unit_bytes_),
      log_(value_of(volume.open_file(issuer, log_path, {.create = true}), log_path)) {
  issuer_.register_buffer(memory_.span());
  for (unsigned i = 0; i < slots_per_thread; ++i) {
    if (slot(i).exists == 0) continue;
    OpenSlot& open = open_[i];
    open.file = value_of(volume_.open_file(issuer_, name(i)), name(i));
    open.size = state(i).size_min;
    for (unsigned unit = 0; unit < file_units; ++unit)
      open.delivered[unit] = state(i).units[unit].durable;
  }
}

std::string SlotWriter::name_at(unsigned index, std::uint32_t number) const {
  return name_of(thread_, index, number);
}

void SlotWriter::step() {
  const auto index = static_cast<unsigned>(below(slots_per_thread));
  if (slot(index).exists == 0) {
    create(index);
    return;
  }
  switch (below(16)) {
    case 0:
    case 1:
    case 2:
      write(index);
      break;
    case 3:
    case 4:
    case 5:
      append(index);
      break;
    case 6:
    case 7:
    case 8:
      append_to_log();
      break;
    case 9:
      sync_file(index);
      break;
    case 10:
      truncate(index);
      break;
    case 11:
      preallocate(index);
      break;
    case 12:
      rename(index);
      break;
    case 13:
      slot(index).linked != 0 ? unlink(index) : link(index);
      break;
    case 14:
      replace(index);
      break;
    default:
      if (below(4) == 0) remove(index);
      break;
  }
}

// A new file in the place of an old one: nothing of it is there, and all numbers are higher than
// any before.
void SlotWriter::start_file(FileState& state) {
  state.id = ++shared_.ids;
  state.version = 0;
  state.size_min = 0;
  state.size_max = 0;
  for (Unit& unit : state.units) {
    unit.durable = 0;
    unit.issued = 0;
    unit.low = 1;
  }
}

void SlotWriter::create(unsigned index) {
  start_file(state(index));
  slot(index).pending = Pending::create;
  open_[index] = OpenSlot{};
  open_[index].file = value_of(
      volume_.open_file(issuer_, name(index), {.create = true, .exclusive = true}), name(index));
  sync_names(index);
  slot(index).exists = 1;
  slot(index).pending = Pending::none;
}

void SlotWriter::write_runs(OpenSlot& open, FileState& state, const Run* runs, unsigned run_count,
                            bool durable) {
  handback::Aiocb requests[in_flight_max];
  std::uint32_t first_version[in_flight_max] = {};
  std::uint32_t end_before = open.size;
  for (unsigned i = 0; i < run_count; ++i) {
    const auto bytes = memory_.span().subspan(std::size_t{i} * run_units_max * unit_bytes_,
                                              runs[i].count * unit_bytes_);
    first_version[i] = state.version + 1;
    for (std::uint32_t k = 0; k < runs[i].count; ++k) {
      const std::uint32_t unit = runs[i].first + k;
      const std::uint32_t version = ++state.version;
      fill_unit(bytes.subspan(k * unit_bytes_, unit_bytes_), {state.id, unit, version});
      state.units[unit].issued = version;
      if (lies_ && durable) state.units[unit].durable = version;
    }
    const std::uint32_t end = runs[i].first + runs[i].count;
    state.size_max = std::max<std::uint32_t>(state.size_max, end);
    if (lies_ && durable) state.size_min = std::max<std::uint32_t>(state.size_min, end);
    auto flags = durable ? handback::KiocbFlags::dsync : handback::KiocbFlags::none;
    if (runs[i].append) flags |= handback::KiocbFlags::append;
    requests[i].prepare_write(*open.file, runs[i].append ? 0 : runs[i].first * unit_bytes_, bytes,
                              flags);
    issuer_.submit(requests[i]);
    if (below(2) == 0) issuer_.poll();
    end_before = std::max(end_before, end);
  }
  const handback::IoResult result = run_all(issuer_, requests, run_count);
  if (!result.ok()) throw failure_of(result, "a write");
  for (unsigned i = 0; i < run_count; ++i) {
    if (requests[i].ki_pos != runs[i].first * unit_bytes_) {
      throw Failure(exit_failed, "an append did not go to the end of the file");
    }
    for (std::uint32_t k = 0; k < runs[i].count; ++k) {
      const std::uint32_t unit = runs[i].first + k;
      open.delivered[unit] = first_version[i] + k;
      if (durable) state.units[unit].durable = first_version[i] + k;
    }
    if (durable) {
      state.size_min = std::max<std::uint32_t>(state.size_min, runs[i].first + runs[i].count);
    }
  }
  open.size = end_before;
}

void SlotWriter::write(unsigned index) {
  Run runs[in_flight_max];
  unsigned count = 0;
  auto at = static_cast<std::uint32_t>(
      below(std::min<std::uint64_t>(open_[index].size + std::uint64_t{4}, file_units - 1)));
  while (count < 1 + below(in_flight_max) && count < in_flight_max && at < file_units) {
    const auto units = std::min<std::uint32_t>(1 + static_cast<std::uint32_t>(below(run_units_max)),
                                               file_units - at);
    runs[count++] = {at, units, false};
    at += units + static_cast<std::uint32_t>(below(4));
  }
  write_runs(open_[index], state(index), runs, count, below(3) != 0);
  this->count(Act::write);
}

void SlotWriter::append(unsigned index) {
  Run runs[in_flight_max];
  unsigned count = 0;
  std::uint32_t at = open_[index].size;
  const std::uint64_t wanted = 1 + below(in_flight_max);
  while (count < wanted && at < file_units) {
    const auto units =
        std::min<std::uint32_t>(1 + static_cast<std::uint32_t>(below(3)), file_units - at);
    runs[count++] = {at, units, true};
    at += units;
  }
  if (count == 0) {
    truncate(index);
    return;
  }
  write_runs(open_[index], state(index), runs, count, below(4) != 0);
  this->count(Act::append);
}

// Everything that was delivered before is durable now, and no truncated version comes back.
void SlotWriter::note_synced(unsigned index) {
  FileState& now = state(index);
  const OpenSlot& open = open_[index];
  for (unsigned unit = 0; unit < file_units; ++unit) {
    if (open.delivered[unit] != 0) {
      now.units[unit].durable = open.delivered[unit];
    } else {
      now.units[unit].low = now.version + 1;
    }
  }
  now.size_min = open.size;
  now.size_max = open.size;
}

void SlotWriter::sync_file(unsigned index) {
  if (lies_) note_synced(index);
  value_of(open_[index].file->fsync(issuer_), name(index));
  note_synced(index);
  count(Act::fsync);
}

void SlotWriter::truncate(unsigned index) {
  FileState& now = state(index);
  OpenSlot& open = open_[index];
  const auto size = static_cast<std::uint32_t>(below(2) == 0 ? below(open.size + std::uint64_t{1})
                                                             : below(file_units));
  now.size_min = std::min<std::uint32_t>(now.size_min, size);
  now.size_max = std::max<std::uint32_t>(now.size_max, size);
  for (unsigned unit = size; unit < file_units; ++unit)
    now.units[unit].durable = 0;
  value_of(open.file->truncate(issuer_, size * unit_bytes_), name(index));
  open.size = size;
  for (unsigned unit = size; unit < file_units; ++unit)
    open.delivered[unit] = 0;
  if (below(2) == 0) sync_file(index);
  count(Act::truncate);
}

void SlotWriter::preallocate(unsigned index) {
  const std::uint64_t first = below(file_units);
  const std::uint64_t units = 1 + below(file_units - first);
  value_of(open_[index].file->preallocate(first * unit_bytes_, units * unit_bytes_), name(index));
  count(Act::preallocate);
}

void SlotWriter::sync_names(unsigned index) {
  switch (below(3)) {
    case 0:
      value_of(volume_.sync(issuer_), "sync");
      break;
    case 1:
      value_of(volume_.sync_directory(issuer_, folder_of(thread_)), folder_of(thread_));
      break;
    default:
      value_of(open_[index].file->fsync(issuer_), name(index));
      break;
  }
}

void SlotWriter::rename(unsigned index) {
  Slot& now = slot(index);
  const std::uint32_t number = now.name;
  now.pending = Pending::rename;
  value_of(volume_.rename(name_at(index, number), name_at(index, number + 1)), name(index));
  if (!lies_) sync_names(index);
  now.name = number + 1;
  now.pending = Pending::none;
  if (lies_) sync_names(index);
  count(Act::rename);
}

void SlotWriter::link(unsigned index) {
  slot(index).pending = Pending::link;
  value_of(volume_.link(name(index), link_of(thread_, index)), name(index));
  sync_names(index);
  slot(index).linked = 1;
  slot(index).pending = Pending::none;
  count(Act::link);
}

void SlotWriter::unlink(unsigned index) {
  slot(index).pending = Pending::unlink;
  value_of(volume_.unlink(link_of(thread_, index)), link_of(thread_, index));
  sync_names(index);
  slot(index).linked = 0;
  slot(index).pending = Pending::none;
  count(Act::unlink);
}

// The way to replace a file: write the new one, make it durable, rename it over the old one.
void SlotWriter::replace(unsigned index) {
  Slot& now = slot(index);
  if (now.linked != 0) return;
  FileState& next = now.files[1 - now.current];
  start_file(next);
  OpenSlot made;
  made.file = value_of(volume_.open_file(issuer_, next_of(thread_, index), {.create = true}),
                       next_of(thread_, index));
  const Run run{0, 1 + static_cast<std::uint32_t>(below(run_units_max)), false};
  write_runs(made, next, &run, 1, true);
  now.pending = Pending::replace;
  value_of(volume_.rename(next_of(thread_, index), name(index)), name(index));
  open_[index] = std::move(made);
  sync_names(index);
  now.current = 1 - now.current;
  now.pending = Pending::none;
  count(Act::replace);
}

void SlotWriter::remove(unsigned index) {
  Slot& now = slot(index);
  if (now.linked != 0) return;
  now.pending = Pending::remove;
  value_of(volume_.unlink(name(index)), name(index));
  value_of(volume_.sync_directory(issuer_, folder_of(thread_)), folder_of(thread_));
  now.exists = 0;
  now.pending = Pending::none;
  open_[index] = OpenSlot{};
  count(Act::remove);
}

// All threads append to one file; who was told where has to find it there.
void SlotWriter::append_to_log() {
  if (log_->size() / unit_bytes_ + std::uint64_t{threads_max} * in_flight_max >= log_units_max) {
    return;
  }
  handback::Aiocb requests[in_flight_max];
  std::uint32_t numbers[in_flight_max] = {};
  const auto wanted = static_cast<unsigned>(1 + below(in_flight_max));
  for (unsigned i = 0; i < wanted; ++i) {
    numbers[i] = ++shared_.threads[thread_].log_issued;
    const auto bytes =
        memory_.span().subspan(std::size_t{i} * run_units_max * unit_bytes_, unit_bytes_);
    fill_unit(bytes, {0, 0, log_mark(thread_, numbers[i])});
    requests[i].prepare_write(*log_, 0, bytes,
                              handback::KiocbFlags::append | handback::KiocbFlags::dsync);
    issuer_.submit(requests[i]);
    if (below(2) == 0) issuer_.poll();
  }
  const handback::IoResult result = run_all(issuer_, requests, wanted);
  if (!result.ok()) throw failure_of(result, log_path);
  for (unsigned i = 0; i < wanted; ++i)
    shared_.log_acknowledged[requests[i].ki_pos / unit_bytes_] = log_mark(thread_, numbers[i]);
  count(Act::log_append);
}

}  // namespace tool::kill_loops
