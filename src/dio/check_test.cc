#include <handback/memory_device.h>

#include <limits>

#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

constexpr KiocbFlags async_read = KiocbFlags::direct | KiocbFlags::dio_defer;
constexpr KiocbFlags async_write = async_read | KiocbFlags::write;

Geometry geometry_of(std::uint32_t logical_block, std::uint32_t memory_alignment) {
  Geometry geometry;
  geometry.size_bytes = 1U << 20;
  geometry.logical_block_bytes = logical_block;
  geometry.memory_alignment_bytes = memory_alignment;
  return geometry;
}

iovec memory(std::uintptr_t address, std::size_t length) {
  // Checks look at addresses, never at what is there.
  return {reinterpret_cast<void*>(address), length};
}

void complete_nothing(Kiocb& /*kiocb*/, Outcome /*outcome*/) noexcept {}

IoResult check(KiocbFlags flags, std::uint64_t offset = 0, std::vector<iovec> segments = {},
               const Geometry& geometry = geometry_of(512, 512), bool sync = false) {
  Kiocb kiocb;
  kiocb.ki_flags = flags;
  kiocb.ki_pos = offset;
  kiocb.ki_complete = sync ? nullptr : &complete_nothing;
  return dio_check(kiocb, IovView{segments.data(), static_cast<std::uint32_t>(segments.size())},
                   geometry);
}

IoResult invalid(IoDetail detail) {
  return IoResult::failure(Errc::invalid, detail);
}
IoResult not_supported(IoDetail detail) {
  return IoResult::failure(Errc::not_supported, detail);
}
const IoResult accepted = IoResult::success(0);

// --- flags ---

// Each of the 32 bits, added to an async direct read and write: nothing is ignored.
TEST(DioCheckFlags, AcceptsOrRefusesEveryBitByName) {
  for (unsigned bit = 0; bit < 32; ++bit) {
    const auto flag = static_cast<KiocbFlags>(1U << bit);
    SCOPED_TRACE(to_string(flag));
    IoResult for_read = accepted;
    IoResult for_write = accepted;
    switch (flag) {
      case KiocbFlags::dsync:
      case KiocbFlags::sync:
      case KiocbFlags::nowait:
      case KiocbFlags::alloc_cache:
      case KiocbFlags::direct:
      case KiocbFlags::dio_defer:
      case KiocbFlags::write:
        break;
      case KiocbFlags::append:
        for_read = invalid(IoDetail::flag_append_read);
        break;
      case KiocbFlags::hipri:
        for_read = for_write = not_supported(IoDetail::flag_hipri);
        break;
      case KiocbFlags::atomic:
        for_read = for_write = not_supported(IoDetail::flag_atomic);
        break;
      case KiocbFlags::dontcache:
        for_read = for_write = not_supported(IoDetail::flag_dontcache);
        break;
      case KiocbFlags::noio:
        for_read = for_write = not_supported(IoDetail::flag_noio);
        break;
      case KiocbFlags::waitq:
        for_read = for_write = invalid(IoDetail::flag_waitq);
        break;
      default:
        for_read = for_write = invalid(IoDetail::flag_unknown);
        break;
    }
    EXPECT_EQ(check(async_read | flag), for_read);
    EXPECT_EQ(check(async_write | flag), for_write);
  }
}

TEST(DioCheckFlags, RefusesBufferedIo) {
  EXPECT_EQ(check(KiocbFlags::dio_defer), not_supported(IoDetail::flag_not_direct));
  EXPECT_EQ(check(KiocbFlags::dio_defer | KiocbFlags::write),
            not_supported(IoDetail::flag_not_direct));
  // That WAITQ is missing its page cache says more than that DIRECT is missing.
  EXPECT_EQ(check(KiocbFlags::waitq), not_supported(IoDetail::flag_waitq));
  EXPECT_EQ(check(KiocbFlags::waitq | KiocbFlags::dio_defer), not_supported(IoDetail::flag_waitq));
}

TEST(DioCheckFlags, NeedsDeferOfNobody) {
  EXPECT_EQ(check(KiocbFlags::direct), accepted);
  EXPECT_EQ(check(KiocbFlags::direct | KiocbFlags::write), accepted);
  const Geometry geometry = geometry_of(512, 512);
  EXPECT_EQ(check(KiocbFlags::direct, 0, {}, geometry, true), accepted);
  EXPECT_EQ(check(KiocbFlags::direct | KiocbFlags::write, 0, {}, geometry, true), accepted);
  EXPECT_EQ(check(async_write, 0, {}, geometry, true), accepted);
}

TEST(DioCheckFlags, LooksAtFlagsBeforeAlignment) {
  EXPECT_EQ(check(async_read | KiocbFlags::hipri, 1, {memory(1, 1)}),
            not_supported(IoDetail::flag_hipri));
}

// --- alignment ---

class DioCheckAlignment : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(DioCheckAlignment, OfTheOffsetIsTheLogicalBlock) {
  const std::uint32_t block = GetParam();
  const Geometry geometry = geometry_of(block, 1);
  for (const std::uint64_t base :
       {std::uint64_t{0}, std::uint64_t{block}, std::uint64_t{block} << 40}) {
    EXPECT_EQ(check(async_read, base, {memory(0, block)}, geometry), accepted);
    for (const std::uint32_t rest : {1U, 256U, block / 2, block - 1}) {
      EXPECT_EQ(check(async_read, base + rest, {memory(0, block)}, geometry),
                invalid(IoDetail::offset_unaligned));
    }
  }
}

TEST_P(DioCheckAlignment, OfEverySegmentsLengthIsTheLogicalBlock) {
  const std::uint32_t block = GetParam();
  const Geometry geometry = geometry_of(block, 1);
  for (unsigned wrong = 0; wrong < 3; ++wrong) {
    std::vector<iovec> segments(3, memory(0, 2 * block));
    EXPECT_EQ(check(async_write, 0, segments, geometry), accepted);
    for (const std::uint32_t length : {1U, 256U, block - 1, block + 1}) {
      segments[wrong].iov_len = length;
      EXPECT_EQ(check(async_write, 0, segments, geometry), invalid(IoDetail::length_unaligned))
          << wrong;
    }
  }
  // Two halves do not make a block.
  EXPECT_EQ(check(async_write, 0, {memory(0, block / 2), memory(0, block / 2)}, geometry),
            invalid(IoDetail::length_unaligned));
}

INSTANTIATE_TEST_SUITE_P(Dio, DioCheckAlignment, ::testing::Values(512U, 4096U),
                         ::testing::PrintToStringParamName());

TEST(DioCheck, WantsEverySegmentsAddressAsTheDeviceNeedsIt) {
  for (const std::uint32_t alignment : {1U, 4U, 64U, 512U, 4096U}) {
    const Geometry geometry = geometry_of(512, alignment);
    for (unsigned wrong = 0; wrong < 3; ++wrong) {
      std::vector<iovec> segments(3, memory(4096, 512));
      segments[wrong] = memory(4096 + alignment, 512);
      EXPECT_EQ(check(async_read, 0, segments, geometry), accepted);
      if (alignment == 1) continue;
      segments[wrong] = memory(4096 + alignment / 2, 512);
      EXPECT_EQ(check(async_read, 0, segments, geometry), invalid(IoDetail::buffer_unaligned))
          << alignment;
    }
  }
}

TEST(DioCheck, AcceptsNoSegmentsAndEmptyOnes) {
  EXPECT_EQ(check(async_read), accepted);
  EXPECT_EQ(check(async_read, 0, {memory(0, 0), memory(512, 512), memory(0, 0)}), accepted);
}

// --- limits ---

TEST(DioCheck, AcceptsTheLongestRequestAndRefusesOneBlockMore) {
  const iovec half = memory(0, 0x40000000);
  EXPECT_EQ(check(async_read, 0, {memory(0, io_length_bytes_max)}), accepted);
  EXPECT_EQ(check(async_read, 0, {half, memory(0, io_length_bytes_max - half.iov_len)}), accepted);
  const IoResult too_long = IoResult::failure(Errc::too_large, IoDetail::length_beyond_limit);
  EXPECT_EQ(check(async_read, 0, {memory(0, io_length_bytes_max + 512ULL)}), too_long);
  EXPECT_EQ(check(async_read, 0, {memory(0, io_length_bytes_max), memory(0, 512)}), too_long);
  EXPECT_EQ(check(async_read, 0, {half, half}), too_long);
}

// Sums that would wrap around 64 bits.
TEST(DioCheck, RefusesLengthsWhoseSumOverflows) {
  const std::size_t huge = std::numeric_limits<std::size_t>::max() - 511;
  const IoResult too_long = IoResult::failure(Errc::too_large, IoDetail::length_beyond_limit);
  const std::size_t half = std::size_t{1} << 63;
  EXPECT_EQ(check(async_read, 0, {memory(0, huge)}), too_long);
  EXPECT_EQ(check(async_read, 0, {memory(0, 512), memory(0, huge)}), too_long);
  EXPECT_EQ(check(async_read, 0, {memory(0, half), memory(0, half)}), too_long);
}

TEST(DioCheck, EndsAtTheLargestOffset) {
  constexpr std::uint64_t limit = std::uint64_t{1} << 63;
  const IoResult beyond = IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
  EXPECT_EQ(check(async_write, limit - 512, {memory(0, 512)}), accepted);
  EXPECT_EQ(check(async_write, limit - 512, {memory(0, 1024)}), beyond);
  EXPECT_EQ(check(async_write, limit, {memory(0, 512)}), beyond);
  EXPECT_EQ(check(async_write, std::numeric_limits<std::uint64_t>::max() - 511, {memory(0, 512)}),
            beyond);
}

// --- what becomes of a refused request ---

TEST(DioCheck, EndsARefusedRequestBeforeTheFileHearsOfIt) {
  FakeRig rig;
  rig.file.map(0, 4096, 0);
  rig.file.size = 4096;
  AlignedBuffer buffer(4096);
  const iovec segment{buffer.data(), 512};
  Aiocb aiocb;
  aiocb.prepare_writev(rig.file, 0, IovView{&segment, 1}, KiocbFlags::atomic);
  EXPECT_EQ(rig.run(aiocb), not_supported(IoDetail::flag_atomic));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::submit, RouteReason::error}));
  EXPECT_EQ(rig.write(1, buffer.span()), invalid(IoDetail::offset_unaligned));
  EXPECT_EQ(rig.read(0, buffer.span().first(100)), invalid(IoDetail::length_unaligned));
  EXPECT_TRUE(rig.file.begun.empty());
  EXPECT_TRUE(rig.file.ended.empty());
  EXPECT_TRUE(rig.device.seen.empty());
  EXPECT_EQ(rig.file.inflight.count(), 0U);
}

TEST(DioCheck, LetsARequestOfNoBytesSucceedWithoutIo) {
  FakeRig rig;
  EXPECT_EQ(rig.write(512, {}), IoResult::success(0));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::submit, RouteReason::submit_ended}));
  EXPECT_EQ(rig.read(0, {}), IoResult::success(0));
  Aiocb aiocb;
  aiocb.prepare_readv(rig.file, 0, IovView{});
  EXPECT_EQ(rig.run(aiocb), IoResult::success(0));
  EXPECT_TRUE(rig.file.begun.empty());
  EXPECT_TRUE(rig.device.seen.empty());
  // But never with flags or an offset that would be refused with bytes.
  EXPECT_EQ(rig.write(1, {}), invalid(IoDetail::offset_unaligned));
  EXPECT_EQ(rig.write(0, {}, KiocbFlags::noio), not_supported(IoDetail::flag_noio));
}

TEST(DioDeathTest, NeedsAnIssuer) {
  FakeDevice device;
  const auto file = make_device_file(device);
  Kiocb kiocb;
  kiocb.ki_flags = KiocbFlags::direct;
  EXPECT_DEATH(static_cast<void>(file->read_iter(kiocb, IovView{})),
               "a request names the issuer whose queues it uses");
}

}  // namespace
}  // namespace handback::testing
