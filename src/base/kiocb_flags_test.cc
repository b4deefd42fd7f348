#include <gtest/gtest.h>
#include <handback/kiocb_flags.h>

#include <array>
#include <bit>
#include <utility>

namespace handback::testing {
namespace {

constexpr std::uint32_t bits(KiocbFlags flags) {
  return static_cast<std::uint32_t>(flags);
}

// The kernel's values: RWF_* of uapi/linux/fs.h, IOCB_* of linux/fs.h; DIO_DEFER as in the 2023
// series.
static_assert(bits(KiocbFlags::hipri) == 1U << 0);
static_assert(bits(KiocbFlags::dsync) == 1U << 1);
static_assert(bits(KiocbFlags::sync) == 1U << 2);
static_assert(bits(KiocbFlags::nowait) == 1U << 3);
static_assert(bits(KiocbFlags::append) == 1U << 4);
static_assert(bits(KiocbFlags::atomic) == 1U << 6);
static_assert(bits(KiocbFlags::dontcache) == 1U << 7);
static_assert(bits(KiocbFlags::direct) == 1U << 17);
static_assert(bits(KiocbFlags::write) == 1U << 18);
static_assert(bits(KiocbFlags::waitq) == 1U << 19);
static_assert(bits(KiocbFlags::noio) == 1U << 20);
static_assert(bits(KiocbFlags::alloc_cache) == 1U << 21);
static_assert(bits(KiocbFlags::dio_defer) == 1U << 22);
static_assert(bits(KiocbFlags::none) == 0);

// By rising bit.
constexpr std::array<std::pair<unsigned, std::string_view>, 13> named_bits{{
    {0, "HIPRI"},
    {1, "DSYNC"},
    {2, "SYNC"},
    {3, "NOWAIT"},
    {4, "APPEND"},
    {6, "ATOMIC"},
    {7, "DONTCACHE"},
    {17, "DIRECT"},
    {18, "WRITE"},
    {19, "WAITQ"},
    {20, "NOIO"},
    {21, "ALLOC_CACHE"},
    {22, "DIO_DEFER"},
}};

constexpr KiocbFlags bit(unsigned index) {
  return static_cast<KiocbFlags>(1U << index);
}

TEST(KiocbFlags, AreKnownExactlyWhereTheyHaveAName) {
  KiocbFlags named = KiocbFlags::none;
  for (const auto& [index, name] : named_bits)
    named |= bit(index);
  EXPECT_EQ(bits(kiocb_flags_known), bits(named));
}

TEST(KiocbFlags, OfAnIssuersCapabilityAreNotInheritable) {
  EXPECT_EQ(kiocb_flags_not_inheritable, KiocbFlags::dio_defer | KiocbFlags::waitq);
}

TEST(KiocbFlags, CombineAsBits) {
  KiocbFlags flags = KiocbFlags::direct | KiocbFlags::write;
  EXPECT_EQ(bits(flags), (1U << 17) | (1U << 18));
  EXPECT_EQ(flags & KiocbFlags::write, KiocbFlags::write);
  EXPECT_EQ(flags & KiocbFlags::sync, KiocbFlags::none);
  flags |= KiocbFlags::dsync;
  EXPECT_EQ(bits(flags), (1U << 1) | (1U << 17) | (1U << 18));
  flags &= ~KiocbFlags::write;
  EXPECT_EQ(bits(flags), (1U << 1) | (1U << 17));
  EXPECT_EQ(bits(~KiocbFlags::none), 0xffffffffU);
}

TEST(KiocbFlags, HaveAMaskIfAnyOfItsBitsIsSet) {
  const KiocbFlags dsync_or_sync = KiocbFlags::dsync | KiocbFlags::sync;
  EXPECT_TRUE(has(KiocbFlags::dsync | KiocbFlags::write, dsync_or_sync));
  EXPECT_TRUE(has(KiocbFlags::sync, dsync_or_sync));
  EXPECT_FALSE(has(KiocbFlags::write, dsync_or_sync));
  EXPECT_FALSE(has(~KiocbFlags::none, KiocbFlags::none));
}

TEST(KiocbFlagsPrinting, NamesEachFlagAndGivesEachOtherBitAsANumber) {
  std::size_t next = 0;
  for (unsigned index = 0; index < 32; ++index) {
    if (next < named_bits.size() && named_bits[next].first == index) {
      EXPECT_EQ(to_string(bit(index)), named_bits[next++].second);
    } else {
      char number[16];
      std::snprintf(number, sizeof number, "0x%x", 1U << index);
      EXPECT_EQ(to_string(bit(index)), number);
    }
  }
  EXPECT_EQ(next, named_bits.size());
}

TEST(KiocbFlagsPrinting, OfNothingIsZero) {
  EXPECT_EQ(to_string(KiocbFlags::none), "0");
}

TEST(KiocbFlagsPrinting, JoinsNamesByRisingBitAsTheKernelDoes) {
  EXPECT_EQ(
      to_string(KiocbFlags::dio_defer | KiocbFlags::dsync | KiocbFlags::write | KiocbFlags::direct),
      "DSYNC|DIRECT|WRITE|DIO_DEFER");
  EXPECT_EQ(to_string(kiocb_flags_known),
            "HIPRI|DSYNC|SYNC|NOWAIT|APPEND|ATOMIC|DONTCACHE|DIRECT|WRITE|WAITQ|NOIO|ALLOC_CACHE|"
            "DIO_DEFER");
}

TEST(KiocbFlagsPrinting, PutsAllUnknownBitsTogetherAndLast) {
  EXPECT_EQ(to_string(bit(5) | bit(31)), "0x80000020");
  EXPECT_EQ(to_string(bit(31) | KiocbFlags::write | bit(5) | KiocbFlags::hipri),
            "HIPRI|WRITE|0x80000020");
  EXPECT_EQ(to_string(~kiocb_flags_known), "0xff81ff20");
}

}  // namespace
}  // namespace handback::testing
