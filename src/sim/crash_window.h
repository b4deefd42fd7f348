// The images that a power cut at one moment can leave, made one after the other on the device
// itself and undone again.
//
// What was durable by then is there. Of the writes that were submitted and not durable any subset
// is, each whole or cut at any place, and those that overlap in any order: docs/simulator.md has
// the rule by which they are chosen where there are too many.
#pragma once

#include <absl/functional/function_ref.h>
#include <handback/sim.h>
#include <string>
#include <vector>

namespace handback::sim {

// What became of one write that was not durable.
struct Survival {
  std::uint32_t write = 0;  // Index of the record.
  // Bytes of it that are on the medium; the whole: 0 to its length.
  std::uint32_t from = 0;
  std::uint32_t to = 0;
};

struct CrashImage {
  std::uint64_t moment = 0;
  std::uint64_t hash = 0;  // Of the contents, relative to the image where the record begins.
  std::uint32_t open_writes = 0;
  std::vector<Survival> survivors;  // In the order in which they reached the medium.
  bool torn = false;
  bool torn_inside_block = false;
  bool torn_inside_sector = false;

  // The writes that are missing or cut: what a smaller example has fewer of.
  [[nodiscard]] std::size_t damage() const noexcept;
};
[[nodiscard]] std::string to_string(const CrashImage& image, const SimRecord& record);

struct CrashRule {
  std::size_t exhaustive_max = 12;  // All subsets of so many.
  std::size_t torn_exhaustive_max = 4;
  std::size_t random = 32;  // For more.
  std::uint64_t seed = 1;
};

// The caller may say that an image is of no use (it was seen before): it is then not made.
using WantImage = absl::FunctionRef<bool(const CrashImage& image)>;
// The image stands on the device. False: enough.
using VisitImage = absl::FunctionRef<bool(const CrashImage& image)>;

// Walks the moments of a record. Between construction and destruction the device's image is what
// is durable at the current moment; afterwards it is as it was.
class CrashWindows {
 public:
  CrashWindows(SimDevice& device, const SimRecord& record);
  ~CrashWindows();
  CrashWindows(const CrashWindows&) = delete;
  CrashWindows& operator=(const CrashWindows&) = delete;

  // To a later moment.
  void go_to(std::uint64_t moment);
  // All images of this moment by the rule. False: a visit said enough.
  bool each(const CrashRule& rule, WantImage want, VisitImage visit);
  // One image chosen by `random`, without a cut inside a sector.
  CrashImage random_image(SimRandom& random) const;
  // Nothing is lost.
  CrashImage whole_image() const;
  // The image that the device is left with at the end.
  void end_with(const CrashImage& image);
  // Makes the image and leaves it; to be undone by device.rollback().
  void make(const CrashImage& image);
  [[nodiscard]] std::uint64_t moment() const noexcept { return moment_; }

 private:
  struct Subset;
  [[nodiscard]] std::span<const std::byte> bytes_of(const Survival& part) const;
  void find_open();
  void put(const Survival& part);
  std::uint64_t apply_hashed(const Survival& part);
  [[nodiscard]] std::uint64_t delta_of(const Survival& part) const;
  bool try_image(CrashImage& image, WantImage want, VisitImage visit);
  bool try_subset(const std::vector<std::uint32_t>& chosen, WantImage want, VisitImage visit);
  bool try_torn(const std::vector<std::uint32_t>& chosen, std::uint32_t torn, WantImage want,
                VisitImage visit);
  [[nodiscard]] bool overlap(std::uint32_t a, std::uint32_t b) const noexcept;

  SimDevice& device_;
  const SimRecord& record_;
  std::uint64_t moment_ = 0;
  std::uint64_t base_hash_ = 0;
  std::vector<std::uint32_t> by_durable_;  // Indices of writes, as they became durable.
  std::size_t durable_count_ = 0;
  std::vector<std::uint32_t> open_;
  std::vector<Survival> last_;  // What stays at the end.
  std::size_t last_durable_count_ = 0;
};

}  // namespace handback::sim
