// After warm-up the data path allocates nothing: every operator new of this program is counted.
#include <handback/memory_device.h>

#include <cstdlib>
#include <new>

#include "dio/dio_test_support.h"

namespace {

thread_local std::uint64_t allocation_count = 0;
// Also held against the contract of the code that allocates.
thread_local bool allocations_checked = false;

void* allocate(std::size_t bytes, std::size_t alignment) {
  ++allocation_count;
  if (allocations_checked) handback::check_may(handback::Acts::allocate);
  void* memory = nullptr;
  if (::posix_memalign(&memory, std::max(alignment, sizeof(void*)),
                       std::max<std::size_t>(bytes, 1)) != 0)
    throw std::bad_alloc();
  return memory;
}

// Not inlined: g++ would take free() for a mistake where it sees the operator new it belongs to.
[[gnu::noinline]] void release(void* memory) noexcept {
  std::free(memory);
}

}  // namespace

// All forms, so that none is paired with another library's.
void* operator new(std::size_t bytes) {
  return allocate(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void* operator new[](std::size_t bytes) {
  return allocate(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept try {
  return allocate(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
} catch (const std::bad_alloc&) {
  return nullptr;
}
void* operator new[](std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept try {
  return allocate(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
} catch (const std::bad_alloc&) {
  return nullptr;
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t /*bytes*/) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::align_val_t /*alignment*/) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/, std::align_val_t /*alignment*/) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t /*bytes*/,
                       std::align_val_t /*alignment*/) noexcept {
  release(memory);
}
void operator delete(void* memory, const std::nothrow_t& /*tag*/) noexcept {
  release(memory);
}
void operator delete[](void* memory, const std::nothrow_t& /*tag*/) noexcept {
  release(memory);
}

namespace handback::testing {
namespace {

TEST(AllocationCount, NoticesAnAllocation) {
  const std::uint64_t before = allocation_count;
  int* volatile const number = new int;  // Volatile: else the compiler leaves both out.
  delete number;
  const AlignedBuffer buffer(1);
  EXPECT_EQ(allocation_count, before + 2);
}

// A plain request: TestAiocb would copy a std::function.
struct CountedAiocb : Aiocb {
  unsigned* delivered = nullptr;
  static void called(Aiocb& aiocb) noexcept { ++*static_cast<CountedAiocb&>(aiocb).delivered; }
};

constexpr unsigned depth = 32;

// Keeps `depth` requests in flight, chosen by `prepare`, until `count` were delivered.
template <typename Prepare>
void run_mixed(Issuer& issuer, std::span<CountedAiocb> aiocbs, unsigned count,
               const Prepare& prepare) {
  unsigned delivered = 0;
  for (unsigned submitted = 0; submitted < count;) {
    for (unsigned i = 0; i < aiocbs.size() && submitted < count; ++i, ++submitted) {
      aiocbs[i].delivered = &delivered;
      prepare(aiocbs[i], submitted);
      issuer.submit(aiocbs[i]);
    }
    while (issuer.in_flight() != 0)
      issuer.wait();
  }
  ASSERT_EQ(delivered, count);
}

void expect_no_allocation_after_warm_up(
    Issuer& issuer, const std::function<void(CountedAiocb&, unsigned)>& prepare) {
  std::vector<CountedAiocb> aiocbs(depth);
  run_mixed(issuer, aiocbs, 2 * depth, prepare);
  const std::uint64_t allocations = allocation_count;
  const std::uint64_t growths = issuer.stats().pool_growths;
  run_mixed(issuer, aiocbs, 10'000, prepare);
  EXPECT_EQ(allocation_count, allocations);
  EXPECT_EQ(issuer.stats().pool_growths, growths);
  EXPECT_EQ(issuer.stats().failed, 0U);
}

TEST(DioSteadyState, AllocatesNothingForRequestsToADevice) {
  // No fua: a dsync write takes a flush and its continuation.
  const auto device = make_memory_device({.size_bytes = 1U << 20,
                                          .logical_block_bytes = 512,
                                          .transfer_bytes_max = 4096,
                                          .volatile_cache = true});
  const auto file = make_device_file(*device);
  const auto issuer = make_issuer({.dios_initial = 1, .bios_initial = 1});
  const AlignedBuffer buffer(65536);
  const std::vector<iovec> segments(7, iovec{buffer.data(), 512});
  expect_no_allocation_after_warm_up(*issuer, [&](CountedAiocb& aiocb, unsigned turn) {
    const std::uint64_t offset = (turn % 64) * 8192ULL;
    const auto called = &CountedAiocb::called;
    switch (turn % 5) {
      case 0:
        aiocb.prepare_read(*file, offset, buffer.span().first(512), called);
        break;
      case 1:
        aiocb.prepare_write(*file, offset, buffer.span().first(16384), KiocbFlags::none, called);
        break;
      case 2:
        aiocb.prepare_write(*file, offset, buffer.span().first(512), KiocbFlags::dsync, called);
        break;
      case 3:
        aiocb.prepare_readv(*file, offset, IovView{segments.data(), 7}, called);
        break;
      default:
        aiocb.prepare_writev(*file, offset, IovView{segments.data(), 7}, KiocbFlags::nowait,
                             called);
        break;
    }
  });
}

// Handed-back, zeroed around, standing in line, reading holes, straddling the end.
TEST(DioSteadyState, AllocatesNothingForRequestsThroughAMapper) {
  const auto device = make_memory_device({.size_bytes = 1U << 20, .logical_block_bytes = 512});
  const auto issuer = make_issuer({.dios_initial = 1, .bios_initial = 1});
  FakeMappedFile file(*device);
  file.map(0, 262144, 0, IomapType::unwritten);
  file.recording = false;
  const AlignedBuffer buffer(65536);
  expect_no_allocation_after_warm_up(*issuer, [&](CountedAiocb& aiocb, unsigned turn) {
    const std::uint64_t block = turn % 32;
    const auto called = &CountedAiocb::called;
    switch (turn % 6) {
      case 0:
        file.blocks[block].type = IomapType::unwritten;
        aiocb.prepare_write(file, block * 4096 + 512, buffer.span().first(512), KiocbFlags::sync,
                            called);
        break;
      case 1:
        aiocb.prepare_write(file, (block - 1) * 4096 + 1024, buffer.span().first(512),
                            KiocbFlags::none, called);
        break;
      case 2:
        file.size = 4096;
        aiocb.prepare_write(file, 0, buffer.span().first(8192), KiocbFlags::none, called);
        break;
      case 3:
        aiocb.prepare_read(file, 0, buffer.span(), called);
        break;
      case 4:
        aiocb.prepare_read(file, 1U << 20, buffer.span().first(4096), called);
        break;
      default:
        aiocb.prepare_read(file, block * 4096, buffer.span().first(8192), called);
        break;
    }
  });
}

TEST(DioSteadyState, AllocatesNothingForASynchronousCaller) {
  const auto device = make_memory_device({.size_bytes = 1U << 20, .volatile_cache = true});
  const auto file = make_device_file(*device);
  DioRig rig(*device);
  AlignedBuffer buffer(4096);
  const iovec segment{buffer.data(), 4096};
  const auto run = [&](unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      Kiocb kiocb;
      const KiocbFlags flags =
          i % 2 == 0 ? KiocbFlags::none : KiocbFlags::write | KiocbFlags::dsync;
      ASSERT_EQ(rig.run_sync(kiocb, *file, 0, segment, flags), IoResult::success(4096));
    }
  };
  run(10);
  const std::uint64_t allocations = allocation_count;
  run(2'000);
  EXPECT_EQ(allocation_count, allocations);
}

class SteadyStateDeathTest : public ThreadedDeathTest {};

// An overwrite whose handler allocates where its last bio ended.
void allocate_in_device_context() {
  FakeRig rig;
  rig.file.map(0, 4096, 8192);
  rig.file.size = 4096;
  rig.file.recording = false;
  rig.file.on_end_io = [](Kiocb&, const DioEnd& end) -> Outcome {
    int* volatile const number = new int;
    delete number;
    return end.result;
  };
  const AlignedBuffer data = random_buffer(4096, 1);
  Aiocb aiocb;
  aiocb.prepare_write(rig.file, 0, data.span());
  rig.issuer->submit(aiocb);
  allocations_checked = true;
  rig.issuer->poll();
}

TEST_F(SteadyStateDeathTest, AHandlerInDeviceContextThatAllocatesIsCaught) {
  EXPECT_DEATH(
      allocate_in_device_context(),
      "contract violated: device context allocates nothing\n(.*\n)*  handler:   fake file");
}

}  // namespace
}  // namespace handback::testing
