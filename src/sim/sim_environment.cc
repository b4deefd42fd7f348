#include <handback/sim.h>

#include "sim/sim_random.h"

namespace handback::sim {

SimRandom::result_type SimRandom::operator()() noexcept {
  state_ += 0x9e3779b97f4a7c15ULL;
  return mix(state_);
}

std::int64_t SimEnvironment::realtime_ns() noexcept {
  constexpr std::int64_t start_ns = 1'700'000'000'000'000'000;
  return start_ns + static_cast<std::int64_t>(now_ns_);
}

void SimEnvironment::random_bytes(std::span<std::byte> to) {
  for (std::byte& byte : to)
    byte = static_cast<std::byte>(random_());
}

std::string_view to_string(FaultKind kind) noexcept {
  switch (kind) {
    case FaultKind::lost_write:
      return "lost_write";
    case FaultKind::misdirected_write:
      return "misdirected_write";
    case FaultKind::misdirected_read:
      return "misdirected_read";
    case FaultKind::stale_read:
      return "stale_read";
    case FaultKind::bit_rot:
      return "bit_rot";
    case FaultKind::latent_error:
      return "latent_error";
    case FaultKind::io_error:
      return "io_error";
    case FaultKind::io_error_sticky:
      return "io_error_sticky";
    case FaultKind::failed_flush:
      return "failed_flush";
    case FaultKind::ignored_flush:
      return "ignored_flush";
    case FaultKind::short_transfer:
      return "short_transfer";
    case FaultKind::again:
      return "again";
    case FaultKind::no_space:
      return "no_space";
    case FaultKind::no_memory:
      return "no_memory";
    case FaultKind::gone:
      return "gone";
    case FaultKind::no_answer:
      return "no_answer";
    case FaultKind::late_answer:
      return "late_answer";
    case FaultKind::ends_twice:
      return "ends_twice";
    case FaultKind::ends_on_other_thread:
      return "ends_on_other_thread";
  }
  return "unknown";
}

}  // namespace handback::sim
