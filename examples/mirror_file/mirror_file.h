// A file over two files that hold the same: a write goes to both, a read to one, and to the other
// if that fails. An example of a stacked file that clones requests; docs/examples.md explains it.
//
// What is promised:
//  - A write that is acknowledged is in every leg that is in service. It has failed, with the first
//    error, only if no leg that is in service has it.
//  - A leg that missed a write which the other one has is out of service before that write is
//    acknowledged: nothing is read from it any more, and it never comes back. The last leg in
//    service stays, whatever fails.
//  - A read fails only if it failed on every leg in service, with the first error.
// Durability, order and sizes are the legs' own. What the mirror knows is in memory: whoever opens
// the legs again after a leg was out must not use that leg before it was copied, and after a crash
// the legs may differ where writes were in flight.
//
// A clone asks for its completion to be handed back, whatever the upper request asked for: the
// mirror can have it run, by giving it to the clone's issuer, where a thread that waits finds it.
//
// Owner: the caller, which keeps the legs until the mirror is gone; nothing may be in flight then.
// Thread class: any thread, each with an issuer of its own. After warm-up, a request allocates
// nothing here.
#pragma once

#include <handback/contract.h>
#include <handback/issuer.h>
#include <handback/kiocb.h>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace examples {

inline constexpr unsigned mirror_legs = 2;

struct MirrorStats {
  std::array<std::uint64_t, mirror_legs> reads{};         // Sent to the leg.
  std::array<std::uint64_t, mirror_legs> writes{};        // The same.
  std::array<std::uint64_t, mirror_legs> read_errors{};   // That were retried or handed on.
  std::array<std::uint64_t, mirror_legs> write_errors{};  // The same.
  std::uint64_t reads_retried = 0;                        // On the other leg.
  std::uint64_t requests_growths = 0;  // Times a request had to allocate its record.
};

class MirrorFile final : public handback::File {
 public:
  MirrorFile(handback::File& first, handback::File& second);
  ~MirrorFile() override;

  // Errors: as the legs say; not_supported for APPEND (the legs would choose for themselves) and
  // for a NOWAIT write (one leg could take what the other refuses); io if the host is out of
  // memory.
  handback::Outcome read_iter(handback::Kiocb& kiocb, handback::IovView to) noexcept override;
  handback::Outcome write_iter(handback::Kiocb& kiocb, handback::IovView from) noexcept override;

  // Any thread.
  [[nodiscard]] bool in_service(unsigned leg) const noexcept {
    return (service_.load(std::memory_order_acquire) >> leg & 1U) != 0;
  }
  [[nodiscard]] bool degraded() const noexcept { return !in_service(0) || !in_service(1); }
  [[nodiscard]] MirrorStats stats() const noexcept;

 private:
  struct Request;
  struct Clone : handback::Kiocb {
    Request* request = nullptr;
    handback::IoResult result;
    bool used = false;
  };

  // A set of legs: bit i is leg i.
  using Legs = unsigned;
  static constexpr Legs all_legs = 3;

  [[nodiscard]] Request* take_request(handback::Kiocb& upper, handback::IovView iov) noexcept;
  void give_back(Request& request) noexcept;
  [[nodiscard]] unsigned leg_to_read() noexcept;
  handback::Outcome start(Request& request, Legs on) noexcept;
  void issue(Request& request, unsigned leg) noexcept;
  static void clone_ended(handback::Kiocb& clone, handback::Outcome outcome) noexcept;
  void note_result(Clone& clone, handback::IoResult result) noexcept;
  [[nodiscard]] bool drop_reference(Request& request) noexcept;
  void all_ended(Request& request, handback::Route route, handback::RouteReason reason) noexcept;
  [[nodiscard]] bool may_retry(const Request& request) const noexcept;
  static void retry(handback::IssuerWork& work) noexcept;
  [[nodiscard]] handback::IoResult write_result(const Request& request) noexcept;
  [[nodiscard]] handback::IoResult conclude(Request& request) noexcept;
  void count(std::atomic<std::uint64_t>& counter) noexcept {
    counter.fetch_add(1, std::memory_order_relaxed);
  }

  const std::array<handback::File*, mirror_legs> legs_;
  std::atomic<Legs> service_{all_legs};
  std::atomic<unsigned> read_turn_{0};

  // Records that are free. Taken under the mutex, one at a time; given back from any context, and
  // so without it. Only who takes removes, so a head that is still there has its old successor.
  std::atomic<Request*> free_{nullptr};
  handback::RankedMutex mutex_{handback::LockRank::handler};
  std::vector<std::unique_ptr<Request>> requests_;  // With the mutex.

  struct Counters {
    std::atomic<std::uint64_t> reads{0};
    std::atomic<std::uint64_t> writes{0};
    std::atomic<std::uint64_t> read_errors{0};
    std::atomic<std::uint64_t> write_errors{0};
  };
  std::array<Counters, mirror_legs> counters_;
  std::atomic<std::uint64_t> reads_retried_{0};
  std::atomic<std::uint64_t> growths_{0};
};

}  // namespace examples
