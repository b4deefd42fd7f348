// The deadlock that stopped the kernel's version, as a stress: threads that write asynchronously
// and truncate from the issuing thread, with and without a lock of the user's that callbacks take.
// HB_DRAIN_ROUNDS=N sets the rounds of each case, all threads together.
#include <handback/host_device.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <mutex>
#include <thread>

#include "base/base_test_support.h"
#include "ring/test_files.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

enum class On : std::uint8_t { memory, cached_memory, io_uring, threads };

struct Case {
  On on;
  bool user_lock;
};

class SelfDrain : public ::testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<BlockDevice> make_device() {
    switch (GetParam().on) {
      case On::memory:
        return make_memory_device({});
      case On::cached_memory:
        return make_memory_device({.volatile_cache = true, .fua = false});
      case On::io_uring:
      case On::threads:
        break;
    }
    const std::string path = folder_.file("device");
    make_file(path, 64U << 20);
    HostDeviceOptions options;
    options.engine = GetParam().on == On::io_uring ? HostEngine::io_uring : HostEngine::threads;
    return must(open_host_device(path, options));
  }

  TempFolder folder_;
};

constexpr unsigned writes_each = 4;

// ThreadSanitizer runs signal handlers only where a thread calls something it knows, and a mutex is
// not among that.
void lock_user(std::mutex& mutex) {
#if defined(__SANITIZE_THREAD__)
  while (!mutex.try_lock())
    ::poll(nullptr, 0, 0);
#else
  mutex.lock();
#endif
}

struct Writer {
  std::mutex* user_lock = nullptr;
  unsigned delivered = 0;
};

TEST_P(SelfDrain, EndsHoweverThreadsWriteTruncateAndSync) {
  VolumeFixture fixture(make_device());
  constexpr unsigned thread_count = 3;
  const unsigned rounds = std::max(
      1U, static_cast<unsigned>(number_from_environment("HB_DRAIN_ROUNDS", 300)) / thread_count);
  // One file for all, so that every truncate meets the others' writes, and one for each.
  std::mutex user_lock;
  std::atomic<unsigned> failures{0};
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < thread_count; ++index) {
    threads.emplace_back([&, index] {
      auto issuer = must(Issuer::create());
      auto shared = must(fixture.volume->open_file(*issuer, "/shared", {.create = true}));
      auto own = must(
          fixture.volume->open_file(*issuer, "/own" + std::to_string(index), {.create = true}));
      const AlignedBuffer data = pattern(4096, index);
      Writer writer{GetParam().user_lock ? &user_lock : nullptr};
      std::array<Aiocb, 2 * writes_each> aiocbs;
      for (unsigned round = 0; round < rounds; ++round) {
        for (unsigned i = 0; i < aiocbs.size(); ++i) {
          VolumeFile& file = i < writes_each ? *shared : *own;
          const KiocbFlags flags = (round + i) % 8 == 0 ? KiocbFlags::dsync : KiocbFlags::none;
          aiocbs[i].prepare_write(
              file, (i % writes_each) * 4096U, data.span(), flags,
              [](Aiocb& done) noexcept {
                auto& self = *static_cast<Writer*>(done.context);
                if (self.user_lock != nullptr) lock_user(*self.user_lock);
                ++self.delivered;
                if (self.user_lock != nullptr) self.user_lock->unlock();
              },
              &writer);
          issuer->submit(aiocbs[i]);
        }
        if (round % 3 == 0) issuer->kick();
        {
          // The lock is held over the drain, and every callback wants it.
          std::unique_lock<std::mutex> held;
          if (writer.user_lock != nullptr) {
            lock_user(*writer.user_lock);
            held = std::unique_lock(*writer.user_lock, std::adopt_lock);
          }
          if (!shared->truncate(*issuer, round % 2 == 0 ? 0 : 8192)) ++failures;
          if (!own->truncate(*issuer, 0)) ++failures;
          if (round % 16 == 0 && !own->fsync(*issuer)) ++failures;
        }
        while (issuer->in_flight() != 0)
          issuer->wait();
        for (const Aiocb& aiocb : aiocbs) {
          if (aiocb.result != IoResult::success(4096)) ++failures;
        }
      }
      if (writer.delivered != rounds * aiocbs.size()) ++failures;
      own.reset();
      shared.reset();
    });
  }
  for (auto& thread : threads)
    thread.join();
  EXPECT_EQ(failures.load(), 0U);
  fixture.close();
  EXPECT_THAT(must(check_volume(*fixture.issuer, *fixture.device)).findings, ::testing::IsEmpty());
}

std::string name_of(const ::testing::TestParamInfo<Case>& tested) {
  constexpr std::array<const char*, 4> names = {"Memory", "CachedMemory", "IoUring", "Threads"};
  return std::string(names[static_cast<unsigned>(tested.param.on)]) +
         (tested.param.user_lock ? "WithAUserLock" : "");
}

INSTANTIATE_TEST_SUITE_P(Volume, SelfDrain,
                         ::testing::Values(Case{On::memory, false}, Case{On::memory, true},
                                           Case{On::cached_memory, false},
                                           Case{On::cached_memory, true}, Case{On::io_uring, false},
                                           Case{On::io_uring, true}, Case{On::threads, false},
                                           Case{On::threads, true}),
                         &name_of);

}  // namespace
}  // namespace handback::testing
