// One volume, from format to close, under random operations: one thread with all of the file, or
// two with a part each.
#pragma once

#include <memory>
#include <string>

#include "exerciser/lane.h"

namespace exerciser {

struct EpisodeCounters {
  LaneCounters lanes;
  std::uint64_t controls = 0;  // Operations that are no requests.
  std::uint64_t kills = 0;
  std::uint64_t power_cuts = 0;
  std::uint64_t faults = 0;  // That hit.
  std::uint64_t told = 0;    // Handles that were told of a write-back that failed.
  std::uint64_t evictions = 0;
  std::uint64_t pages_written = 0;
  std::uint64_t cache_bytes_most = 0;  // Of the bound, never above it.

  void add(const EpisodeCounters& other);
};

// Throws a Violation.
class Episode {
 public:
  Episode(const DeviceKind& kind, Device& device, std::uint64_t seed, Log& log);
  ~Episode();
  void run(std::uint64_t operations);
  [[nodiscard]] const EpisodeCounters& counters() const { return counters_; }

 private:
  void start();
  void open_volume();
  void open_handle(OpenFile& file, unsigned which, bool create = false);
  void close_handles(OpenFile& file);
  void note_cache();

  void step();
  void control();
  void requests_with_a_call();
  void while_frozen();
  // The call's part in `effects`.
  void change(OpenFile& file, Effects& effects, bool among_requests);
  void sync_file(OpenFile& file);
  void second_file();
  void reopen_handle();
  void reopen_volume();
  void kill();
  void cut_power(std::uint64_t moment);
  void after_crash(const char* what);
  void arm_fault();
  void disarm_faults();
  void recover();
  void finish();
  void run_two(std::uint64_t operations);

  [[nodiscard]] bool went(const handback::Result<void>& result, const char* what);
  [[nodiscard]] OpenFile& some_file();
  void for_all(const std::function<void(OpenFile& file)>& what);

  const DeviceKind& kind_;
  Device& device_;
  Log& log_;
  std::uint64_t seed_;
  Random random_;
  World world_;
  EpisodeCounters counters_;
  TickingClock clock_;
  handback::VolumeOptions options_;
  bool tight_ = false;
  std::uint64_t data_from_ = 0;   // Where files' blocks begin on the device.
  std::vector<std::byte> image_;  // At the beginning of what the device has recorded.
  // What is armed makes writes of data fail, and all handles have been open since.
  bool fault_in_write_ = false;

  // What requests are made of outlives the issuer that has them in flight.
  std::unique_ptr<Lane> lane_;
  std::unique_ptr<handback::Issuer> issuer_;
  std::unique_ptr<handback::Volume> volume_;
  OpenFile file_;
  std::unique_ptr<OpenFile> second_;
};

}  // namespace exerciser
