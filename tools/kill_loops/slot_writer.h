// One thread's files: changes them one step after the other, and notes in shared memory what each
// step may leave.
#pragma once

#include <handback/issuer.h>
#include <handback/volume.h>
#include <array>
#include <memory>
#include <random>
#include <string>

#include "kill_loops/shared_state.h"
#include "kill_loops/writer.h"

namespace tool::kill_loops {

class SlotWriter {
 public:
  SlotWriter(handback::Volume& volume, handback::Issuer& issuer, SharedState& shared,
             unsigned thread, const WriterOptions& options);

  // One random step on one of the thread's files, with all that is noted of it. Throws Failure.
  void step();

 private:
  struct OpenSlot {
    std::unique_ptr<handback::VolumeFile> file;
    std::uint32_t size = 0;                             // Units, as the volume should have it now.
    std::array<std::uint32_t, file_units> delivered{};  // The newest version that has ended.
  };

  Slot& slot(unsigned index) { return shared_.threads[thread_].slots[index]; }
  FileState& state(unsigned index) { return slot(index).files[slot(index).current]; }
  std::string name(unsigned index) { return name_at(index, slot(index).name); }
  [[nodiscard]] std::string name_at(unsigned index, std::uint32_t number) const;
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  void count(Act act) { ++shared_.acknowledged[static_cast<unsigned>(act)]; }

  void create(unsigned index);
  void write(unsigned index);
  void append(unsigned index);
  void sync_file(unsigned index);
  void truncate(unsigned index);
  void preallocate(unsigned index);
  void rename(unsigned index);
  void link(unsigned index);
  void unlink(unsigned index);
  void replace(unsigned index);
  void remove(unsigned index);
  void append_to_log();

  // Writes runs of units that do not overlap, all in flight together.
  struct Run {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    bool append = false;
  };
  void write_runs(OpenSlot& open, FileState& state, const Run* runs, unsigned run_count,
                  bool durable);
  // Makes names durable in one of the ways there are.
  void sync_names(unsigned index);
  void note_synced(unsigned index);
  void start_file(FileState& state);

  handback::Volume& volume_;
  handback::Issuer& issuer_;
  SharedState& shared_;
  unsigned thread_;
  bool lies_;
  std::size_t unit_bytes_;
  std::mt19937_64 random_;
  handback::AlignedBuffer memory_;
  std::array<OpenSlot, slots_per_thread> open_;
  std::unique_ptr<handback::VolumeFile> log_;
};

}  // namespace tool::kill_loops
