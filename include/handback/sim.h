// A simulated device, clock and randomness: the production code runs on them, in one thread, and
// the same seed gives the same run, byte for byte. What it is for: docs/simulator.md.
//
//   sim::SimEnvironment environment(seed);
//   sim::SimDevice device(environment, {.volatile_cache = true});
//   auto issuer = Issuer::create({.nudge_signal = 0, .environment = &environment});
//   ... format, open, write ...
//
// Owner: the caller; device and environment outlive the issuers that use them. Thread class: one
// thread, that of the issuer. An issuer that uses a SimDevice uses no other device at that time:
// it would sleep in the host's clock.
#pragma once

#include <handback/block_device.h>
#include <handback/environment.h>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace handback::sim {

// A small, fast, seeded generator whose sequence is the same on every machine.
class SimRandom {
 public:
  using result_type = std::uint64_t;
  explicit SimRandom(std::uint64_t seed) noexcept : state_(seed) {}
  static constexpr result_type min() noexcept { return 0; }
  static constexpr result_type max() noexcept { return ~result_type{0}; }
  result_type operator()() noexcept;
  // 0 to bound - 1. Requires: bound > 0.
  std::uint64_t below(std::uint64_t bound) noexcept { return (*this)() % bound; }
  bool one_in(std::uint64_t n) noexcept { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

// A clock that stands still until somebody waits, and randomness from a seed.
class SimEnvironment final : public Environment {
 public:
  explicit SimEnvironment(std::uint64_t seed) noexcept : random_(seed) {}

  [[nodiscard]] std::uint64_t monotonic_ns() noexcept override { return now_ns_; }
  [[nodiscard]] std::int64_t realtime_ns() noexcept override;
  void random_bytes(std::span<std::byte> to) override;

  void advance(std::uint64_t by_ns) noexcept { now_ns_ += by_ns; }
  // To go back to an earlier run's beginning.
  void set(std::uint64_t now_ns, std::uint64_t seed) noexcept {
    now_ns_ = now_ns;
    random_ = SimRandom(seed);
  }

 private:
  std::uint64_t now_ns_ = 1'000'000'000;
  SimRandom random_;
};

enum class FaultKind : std::uint8_t {
  lost_write,         // Said to be done, and not done.
  misdirected_write,  // Done, 64 KiB from where it belongs.
  misdirected_read,   // Returns what lies 64 KiB from there.
  stale_read,         // Returns what was there before the last write of each block.
  bit_rot,            // A bit at rest is flipped before the read.
  latent_error,       // Reads of these blocks fail with EIO until they are written.
  io_error,           // EIO, once; a write may have happened in part.
  io_error_sticky,    // EIO from now on.
  failed_flush,       // EIO; what it should have covered is never covered. The next one succeeds.
  ignored_flush,      // Said to be done; nothing was covered.
  short_transfer,     // Ends after half of it, with what the host's queues say then.
  again,              // EAGAIN, once.
  no_space,           // ENOSPC, once.
  no_memory,          // ENOMEM, once: the device or the queue found no memory for it.
  gone,               // ENODEV for this bio and all after it.
  no_answer,          // Never ends.
  late_answer,        // Is carried out and ends after 40 s.
  ends_twice,         // A broken device: end_io is called a second time.
  ends_on_other_thread,  // end_io is called by a thread of the device's, as the seam allows.
};
inline constexpr unsigned fault_kind_count = 19;
[[nodiscard]] std::string_view to_string(FaultKind kind) noexcept;

// One fault: the `nth` bio that fits, counted from 1, since the rule was added.
struct FaultRule {
  FaultKind kind = FaultKind::io_error;
  std::optional<BioOp> op = {};  // None: any.
  std::uint64_t nth = 1;
  std::uint64_t from = 0;  // Bytes of the device that the bio must touch; flushes touch
  std::uint64_t to = ~std::uint64_t{0};  // all of it.
  bool sticky = false;                   // Every bio that fits from the nth on.
  std::uint64_t hits = 0;                // Counted by the device.
};

struct SimDeviceOptions {
  std::uint64_t size_bytes = 4U << 20;
  std::uint32_t logical_block_bytes = 4096;  // 512 or 4096.
  std::uint32_t transfer_bytes_max = 1U << 20;
  bool volatile_cache = false;
  bool fua = false;
  // A bio ends this long after its submission, chosen for each: so they end in any order.
  std::uint64_t delay_ns_min = 10'000;
  std::uint64_t delay_ns_max = 200'000;
  std::uint64_t seed = 1;
};

// --- what a device remembers of its writes ---

inline constexpr std::uint64_t never = ~std::uint64_t{0};

// One write, with the moments of its life; `never` if one did not come.
struct RecordedWrite {
  std::uint64_t addr = 0;
  std::uint64_t data = 0;  // Where its bytes begin in SimRecord::bytes.
  std::uint32_t length = 0;
  bool fua = false;
  bool dropped = false;  // By a flush that failed: no later one covers it.
  std::uint64_t submitted = never;
  std::uint64_t ended = never;
  std::uint64_t durable = never;
};

// What may be on the medium at each moment. Moments count the submissions and ends of bios, and
// what SimDevice::moment() adds.
struct SimRecord {
  std::vector<RecordedWrite> writes;  // By submission.
  std::vector<std::byte> bytes;
  // Where what may survive, or what was promised, changes: by rising number.
  std::vector<std::uint64_t> crash_moments;
  std::uint64_t begun = 0;
};

struct SimCounts {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
};

class SimQueue;

class SimDevice final : public BlockDevice {
 public:
  SimDevice(SimEnvironment& environment, const SimDeviceOptions& options);
  ~SimDevice() override;

  [[nodiscard]] const Geometry& geometry() const noexcept override { return geometry_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  // Errors: io (after FaultKind::gone).
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override;

  // What a read would return now: medium and cache together. Requires, for changing it: nothing in
  // flight.
  [[nodiscard]] std::span<std::byte> image() noexcept { return {image_, geometry_.size_bytes}; }

  // Each bio that is submitted from now on ends at the next poll, in order. For reading back.
  void set_instant(bool instant) noexcept { instant_ = instant; }
  void set_seed(std::uint64_t seed) noexcept { random_ = SimRandom(seed); }

  // --- faults ---
  // Rules are asked in order; the first that fits decides. Returns the rule's index.
  std::size_t add_fault(const FaultRule& rule);
  [[nodiscard]] const std::vector<FaultRule>& faults() const noexcept { return faults_; }
  void clear_faults() noexcept;
  // Whatever is in flight, or was never answered, ends with the next poll.
  void answer_all() noexcept;
  [[nodiscard]] const SimCounts& counts() const noexcept { return counts_; }

  // --- power cuts ---
  // From now on writes are remembered; what is in the image counts as durable. Requires: nothing in
  // flight.
  void start_recording();
  void stop_recording() noexcept { recording_ = false; }
  [[nodiscard]] const SimRecord& record() const noexcept { return record_; }
  // A moment of the caller's own: an operation begins or ends.
  std::uint64_t moment();
  [[nodiscard]] std::uint64_t now() const noexcept { return moment_; }
  // A digest of all that this device was asked and answered, in order.
  [[nodiscard]] std::uint64_t digest() const noexcept { return digest_; }

  // --- undoing ---
  // Until rollback(), remembers what the image held before each change. Nests: rollback() goes back
  // to the last mark.
  void mark();
  void rollback();
  // Changes the image as a write would, with the undo kept.
  void poke(std::uint64_t addr, std::span<const std::byte> from);

 private:
  friend class SimQueue;
  struct Pending;
  struct Undo {
    std::uint64_t addr;
    std::uint64_t data;
    std::uint32_t length;
  };

  FaultRule* fault_for(const Bio& bio) noexcept;
  void submitted(SimQueue& queue, Bio& bio) noexcept;
  void carry_out(Pending& pending) noexcept;
  void carry_out_write(Pending& pending) noexcept;
  void carry_out_read(Pending& pending) noexcept;
  void flush_ended(const Pending& pending) noexcept;
  void forget_queue(SimQueue& queue) noexcept;
  void store(const Bio& bio, std::uint64_t addr, std::uint32_t length);
  void note(std::uint64_t what) noexcept { digest_ = (digest_ ^ what) * 0x9e3779b97f4a7c15ULL; }
  [[nodiscard]] bool fits(const FaultRule& rule, const Bio& bio) const noexcept;

  SimEnvironment& environment_;
  SimDeviceOptions options_;
  Geometry geometry_;
  std::string name_ = "simulated";
  std::byte* image_;
  std::vector<std::byte> previous_;  // For stale reads; empty until one is asked for.
  SimRandom random_;
  bool instant_ = false;
  bool gone_ = false;
  bool recording_ = false;
  std::uint64_t moment_ = 0;
  std::uint64_t digest_ = 0;
  SimRecord record_;
  SimCounts counts_;
  std::vector<FaultRule> faults_;
  std::vector<std::uint64_t> latent_;  // Logical blocks that cannot be read.
  std::vector<std::unique_ptr<Pending>> pending_;
  std::vector<std::unique_ptr<Pending>> spare_;
  std::vector<SimQueue*> queues_;
  std::vector<std::uint32_t> not_durable_;  // Indices of record_.writes.
  std::vector<Undo> undo_;
  std::vector<std::byte> undo_bytes_;
  std::vector<std::size_t> marks_;
};

}  // namespace handback::sim
