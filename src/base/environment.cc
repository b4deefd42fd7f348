#include <handback/environment.h>

#include <chrono>
#include <random>

namespace handback {
namespace {

template <typename Clock>
auto nanoseconds_of() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}

class SystemEnvironment final : public Environment {
 public:
  [[nodiscard]] std::uint64_t monotonic_ns() noexcept override {
    return static_cast<std::uint64_t>(nanoseconds_of<std::chrono::steady_clock>());
  }
  [[nodiscard]] std::int64_t realtime_ns() noexcept override {
    return nanoseconds_of<std::chrono::system_clock>();
  }
  void random_bytes(std::span<std::byte> to) override {
    std::random_device entropy;
    for (std::byte& byte : to)
      byte = static_cast<std::byte>(entropy());
  }
};

}  // namespace

Environment& system_environment() noexcept {
  static SystemEnvironment environment;
  return environment;
}

}  // namespace handback
