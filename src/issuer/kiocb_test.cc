#include <handback/kiocb.h>

#include <type_traits>

#include "issuer/issuer_test_support.h"

namespace handback::testing {
namespace {

static_assert(sizeof(Kiocb) <= 64);
static_assert(!std::is_copy_constructible_v<Kiocb> && !std::is_move_constructible_v<Kiocb>);
static_assert(!std::is_copy_assignable_v<Kiocb> && !std::is_move_assignable_v<Kiocb>);
static_assert(!std::is_copy_constructible_v<Aiocb> && !std::is_move_constructible_v<Aiocb>);
static_assert(!std::is_polymorphic_v<Kiocb>);

Outcome handler(Kiocb& /*kiocb*/) noexcept {
  return IoResult::success(1);
}

WaitPage* some_wait_page() {
  static int page = 0;
  return reinterpret_cast<WaitPage*>(&page);
}

TEST(Kiocb, IsSynchronousAndEmptyAtFirst) {
  const Kiocb kiocb;
  EXPECT_TRUE(kiocb.is_sync());
  EXPECT_FALSE(kiocb.is_write());
  EXPECT_FALSE(kiocb.is_dsync());
  EXPECT_EQ(kiocb.ki_flags, KiocbFlags::none);
  EXPECT_EQ(kiocb.route, Route::none);
  EXPECT_EQ(kiocb.route_reason, RouteReason::none);
  EXPECT_EQ(kiocb.ki_filp, nullptr);
  EXPECT_EQ(kiocb.issuer, nullptr);
  EXPECT_EQ(kiocb.private_, nullptr);
}

TEST(Kiocb, IsDsyncWithEitherOfTheFlags) {
  Kiocb kiocb;
  kiocb.ki_flags = KiocbFlags::dsync;
  EXPECT_TRUE(kiocb.is_dsync());
  kiocb.ki_flags = KiocbFlags::sync;
  EXPECT_TRUE(kiocb.is_dsync());
  kiocb.ki_flags = ~(KiocbFlags::dsync | KiocbFlags::sync);
  EXPECT_FALSE(kiocb.is_dsync());
}

// --- the slot ---

TEST(KiocbSlot, HoldsTheHandlerWithDioDefer) {
  Kiocb kiocb;
  kiocb.ki_flags = KiocbFlags::direct | KiocbFlags::dio_defer;
  EXPECT_EQ(kiocb.dio_complete(), nullptr);
  kiocb.set_dio_complete(&handler);
  EXPECT_EQ(kiocb.dio_complete(), &handler);
}

TEST(KiocbSlot, HoldsTheWaitPageWithWaitq) {
  Kiocb kiocb;
  kiocb.ki_flags = KiocbFlags::waitq;
  EXPECT_EQ(kiocb.ki_waitq(), nullptr);
  kiocb.set_ki_waitq(some_wait_page());
  EXPECT_EQ(kiocb.ki_waitq(), some_wait_page());
}

TEST(KiocbSlot, IsEmptiedWhateverItHeld) {
  Kiocb kiocb;
  kiocb.ki_flags = KiocbFlags::waitq;
  kiocb.set_ki_waitq(some_wait_page());
  kiocb.clear_slot();
  EXPECT_EQ(kiocb.ki_waitq(), nullptr);
  kiocb.ki_flags = KiocbFlags::dio_defer;
  kiocb.set_dio_complete(&handler);
  kiocb.clear_slot();
  EXPECT_EQ(kiocb.dio_complete(), nullptr);
}

// Every combination of the two flags in which a member is the wrong one.
class KiocbSlotDeathTest : public ::testing::TestWithParam<KiocbFlags> {
 protected:
  KiocbSlotDeathTest() { kiocb_.ki_flags = KiocbFlags::write | GetParam(); }
  Kiocb kiocb_;
};

class KiocbWaitqDeathTest : public KiocbSlotDeathTest {};
class KiocbHandlerDeathTest : public KiocbSlotDeathTest {};

TEST_P(KiocbWaitqDeathTest, IsNotReadWithTheWrongFlags) {
  EXPECT_DEATH(static_cast<void>(kiocb_.ki_waitq()),
               "rule broken: ki_waitq is read only with WAITQ set and DIO_DEFER clear\n(.*\n)*"
               "  subject:   flags=WRITE");
}

TEST_P(KiocbWaitqDeathTest, IsNotSetWithTheWrongFlags) {
  EXPECT_DEATH(kiocb_.set_ki_waitq(some_wait_page()),
               "rule broken: ki_waitq is set only with WAITQ set and DIO_DEFER clear\n(.*\n)*"
               "  subject:   flags=WRITE");
}

TEST_P(KiocbHandlerDeathTest, IsNotReadWithTheWrongFlags) {
  EXPECT_DEATH(static_cast<void>(kiocb_.dio_complete()),
               "rule broken: dio_complete is read only with DIO_DEFER set and WAITQ clear\n(.*\n)*"
               "  subject:   flags=WRITE");
}

TEST_P(KiocbHandlerDeathTest, IsNotSetWithTheWrongFlags) {
  EXPECT_DEATH(kiocb_.set_dio_complete(&handler),
               "rule broken: dio_complete is set only with DIO_DEFER set and WAITQ clear\n(.*\n)*"
               "  subject:   flags=WRITE");
}

std::string param_name(const ::testing::TestParamInfo<KiocbFlags>& info) {
  if (info.param == KiocbFlags::none) return "WithNeither";
  if (info.param == KiocbFlags::waitq) return "WithWaitq";
  if (info.param == KiocbFlags::dio_defer) return "WithDioDefer";
  return "WithBoth";
}

INSTANTIATE_TEST_SUITE_P(Slot, KiocbWaitqDeathTest,
                         ::testing::Values(KiocbFlags::none, KiocbFlags::dio_defer,
                                           KiocbFlags::waitq | KiocbFlags::dio_defer),
                         param_name);
INSTANTIATE_TEST_SUITE_P(Slot, KiocbHandlerDeathTest,
                         ::testing::Values(KiocbFlags::none, KiocbFlags::waitq,
                                           KiocbFlags::waitq | KiocbFlags::dio_defer),
                         param_name);

// --- clones ---

TEST(KiocbClone, TakesPositionPriorityAndEveryFlagOfTheIo) {
  FakeFile upper_file;
  FakeFile lower_file;
  const auto issuer = make_issuer();
  Kiocb upper;
  upper.ki_filp = &upper_file;
  upper.ki_pos = 0x123456789000;
  upper.ki_ioprio = 0x4007;
  upper.issuer = issuer.get();
  const KiocbFlags of_the_io = kiocb_flags_known & ~(KiocbFlags::dio_defer | KiocbFlags::waitq);
  upper.ki_flags = of_the_io;
  Kiocb lower;
  lower.init_clone(upper, lower_file);
  EXPECT_EQ(lower.ki_filp, &lower_file);
  EXPECT_EQ(lower.ki_pos, 0x123456789000U);
  EXPECT_EQ(lower.ki_ioprio, 0x4007);
  EXPECT_EQ(to_string(lower.ki_flags), to_string(of_the_io));
  EXPECT_EQ(lower.issuer, issuer.get());
}

TEST(KiocbClone, DropsTheCapabilityOfTheUpperIssuerAndItsHandler) {
  FakeFile lower_file;
  Kiocb upper;
  upper.ki_flags =
      KiocbFlags::direct | KiocbFlags::write | KiocbFlags::dsync | KiocbFlags::dio_defer;
  upper.set_dio_complete(&handler);
  upper.ki_complete = [](Kiocb&, Outcome) noexcept {};
  upper.private_ = &upper;
  upper.route = Route::issuer;
  upper.route_reason = RouteReason::extending;

  Kiocb lower;
  // The leftovers of a former life.
  lower.ki_flags = KiocbFlags::dio_defer;
  lower.set_dio_complete(&handler);
  lower.ki_complete = upper.ki_complete;
  lower.private_ = &lower;
  lower.route = Route::inline_;
  lower.next = &upper;

  lower.init_clone(upper, lower_file);
  EXPECT_EQ(to_string(lower.ki_flags), "DSYNC|DIRECT|WRITE");
  EXPECT_TRUE(lower.is_sync());
  EXPECT_EQ(lower.private_, nullptr);
  EXPECT_EQ(lower.next, nullptr);
  EXPECT_EQ(lower.route, Route::none);
  EXPECT_EQ(lower.route_reason, RouteReason::none);
  // Whoever issues the clone starts with an empty slot.
  lower.ki_flags |= KiocbFlags::dio_defer;
  EXPECT_EQ(lower.dio_complete(), nullptr);
  // The upper one is as it was.
  EXPECT_EQ(upper.dio_complete(), &handler);
  EXPECT_EQ(upper.private_, &upper);
}

TEST(KiocbClone, DropsTheWaitPage) {
  FakeFile lower_file;
  Kiocb upper;
  upper.ki_flags = KiocbFlags::waitq | KiocbFlags::noio;
  upper.set_ki_waitq(some_wait_page());
  Kiocb lower;
  lower.init_clone(upper, lower_file);
  EXPECT_EQ(to_string(lower.ki_flags), "NOIO");
  lower.ki_flags |= KiocbFlags::waitq;
  EXPECT_EQ(lower.ki_waitq(), nullptr);
}

TEST(IovView, IsAsLongAsAllItsSegments) {
  EXPECT_EQ(IovView{}.length(), 0U);
  const iovec segments[] = {{nullptr, 512}, {nullptr, 0}, {nullptr, std::size_t{1} << 40}};
  EXPECT_EQ((IovView{segments, 3}).length(), (std::uint64_t{1} << 40) + 512);
  EXPECT_EQ((IovView{segments, 1}).length(), 512U);
}

}  // namespace
}  // namespace handback::testing
