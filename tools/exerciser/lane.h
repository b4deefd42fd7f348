// One thread's requests on one file: batches of them, generated at random, carried out, and held
// against the shadow.
#pragma once

#include <handback/issuer.h>
#include <handback/sim.h>
#include <handback/volume.h>
#include <array>
#include <functional>
#include <memory>
#include <string>

#include "exerciser/devices.h"
#include "exerciser/shadow.h"

namespace exerciser {

using Random = handback::sim::SimRandom;

// The last operations, for whoever has to understand a failure.
class Log {
 public:
  void add(const char* what, std::uint64_t a = 0, std::uint64_t b = 0, const char* more = "",
           const char* how = "");
  [[nodiscard]] std::string text() const;
  // For a signal handler.
  void write_to(int fd) const noexcept;

 private:
  struct Line {
    const char* what = nullptr;
    const char* more = nullptr;
    const char* how = nullptr;
    std::uint64_t a = 0;
    std::uint64_t b = 0;
  };
  static void print(const Line& line, std::uint64_t number, char (&text)[160]) noexcept;
  std::array<Line, 64> lines_{};
  std::uint64_t count_ = 0;
};

// What may go wrong without being wrong.
struct World {
  Device* device = nullptr;
  bool tight = false;        // The volume may be full.
  bool failed = false;       // Something failed that may, since this was cleared.
  bool poisoned = false;     // And the volume takes no more changes until it is opened again.
  std::uint64_t faults = 0;  // That have hit since they were healed.

  [[nodiscard]] bool fault_has_hit();
  // Throws a Violation if it may not fail like that.
  void failure(handback::Errc code, const std::string& what);
};

struct OpenFile {
  std::string path;
  std::unique_ptr<handback::VolumeFile> handles[2];  // The second may be missing.
  bool through[2] = {};                              // unaligned_through_cache.
  Shadow shadow;
  History history;
  std::uint64_t size_max = 0;
  // Only [from, to) is this lane's, others change the rest: sizes are not known.
  bool shared = false;
  std::uint64_t from = 0;
  std::uint64_t to = 0;
};

struct LaneCounters {
  std::uint64_t operations = 0;
  std::uint64_t would_block = 0;
  std::uint64_t shorter = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t ambiguous = 0;  // Batches whose outcome had to be looked up.
};

// Of requests: how they are mixed.
struct Mixture {
  unsigned direct_percent = 40;
  unsigned write_percent = 50;
  std::uint64_t length_max = 64U << 10;
  std::uint64_t hot_bytes = 64U << 10;  // Half of all requests go there.
};

class Lane {
 public:
  static constexpr unsigned batch_max = 32;
  static constexpr std::uint64_t request_bytes_max = 256U << 10;

  Lane(handback::Issuer& issuer, std::uint64_t seed, std::uint32_t logical_block_bytes,
       std::byte tag, Log& log, World& world);
  ~Lane();

  // `meanwhile` runs when all are submitted, and adds what it did.
  using Meanwhile = std::function<void(Effects& effects)>;
  void requests(OpenFile& file, unsigned count, const Meanwhile& meanwhile = nullptr);
  // Reads [offset, offset + length), through the cache or past it, and returns what is there.
  std::span<const std::byte> look(OpenFile& file, std::uint64_t offset, std::uint64_t length,
                                  bool direct, unsigned handle = 0);
  // Takes over what `effects` did, looking it up where that is not certain.
  void conclude(OpenFile& file, const Effects& effects, std::uint64_t size_before);
  // All of the file is as it should be, found in one way or the other.
  void verify(OpenFile& file, bool direct, unsigned handle = 0);

  Mixture mixture;
  LaneCounters counters;
  Random random;

 private:
  struct Request;
  void generate(OpenFile& file, Request& request, bool alone);
  void carry_out_alone(Request& request);
  void add_effect(OpenFile& file, const Request& request, Effects& effects,
                  std::uint64_t size_before);
  void check_read(OpenFile& file, const Request& request, const Effects& effects,
                  std::uint64_t size_least, std::uint64_t size_most);
  void fill(std::span<std::byte> to);

  handback::Issuer& issuer_;
  const std::uint32_t unit_;
  const std::byte tag_;
  Log& log_;
  World& world_;
  std::vector<std::unique_ptr<Request>> requests_;
  unsigned ended_ = 0;
  handback::AlignedBuffer look_buffer_;
};

[[noreturn]] void violation(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace exerciser
