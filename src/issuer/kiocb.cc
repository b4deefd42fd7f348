#include <handback/kiocb.h>

#include "base/assert.h"
#include "base/old_behaviour.h"
#include "base/planted_bug.h"

namespace handback {

namespace {
void assert_slot(const Kiocb& kiocb, KiocbFlags needed, KiocbFlags forbidden,
                 const char* rule) noexcept {
  if (has(kiocb.ki_flags, needed) && !has(kiocb.ki_flags, forbidden)) return;
  rule_broken("the slot's discriminating flag", rule, "flags=" + to_string(kiocb.ki_flags));
}
}  // namespace

WaitPage* Kiocb::ki_waitq() const noexcept {
  assert_slot(*this, KiocbFlags::waitq, KiocbFlags::dio_defer,
              "ki_waitq is read only with WAITQ set and DIO_DEFER clear");
  return slot_.ki_waitq;
}

void Kiocb::set_ki_waitq(WaitPage* wait) noexcept {
  assert_slot(*this, KiocbFlags::waitq, KiocbFlags::dio_defer,
              "ki_waitq is set only with WAITQ set and DIO_DEFER clear");
  slot_.ki_waitq = wait;
}

DioComplete Kiocb::dio_complete() const noexcept {
  assert_slot(*this, KiocbFlags::dio_defer, KiocbFlags::waitq,
              "dio_complete is read only with DIO_DEFER set and WAITQ clear");
  return slot_.dio_complete;
}

void Kiocb::set_dio_complete(DioComplete handler) noexcept {
  assert_slot(*this, KiocbFlags::dio_defer, KiocbFlags::waitq,
              "dio_complete is set only with DIO_DEFER set and WAITQ clear");
  slot_.dio_complete = handler;
}

void Kiocb::init_clone(const Kiocb& upper, File& lower) noexcept {
  ki_filp = &lower;
  ki_pos = upper.ki_pos;
  ki_complete = nullptr;
  private_ = nullptr;
  clear_slot();
  ki_flags = upper.ki_flags & ~kiocb_flags_not_inheritable;
  if (behaves_as_before(OldBehaviour::clone_inherits) || planted(PlantedBug::clone_inherits_defer))
    ki_flags = upper.ki_flags;
  ki_ioprio = upper.ki_ioprio;
  route = Route::none;
  route_reason = RouteReason::none;
  issuer = upper.issuer;
  next = nullptr;
}

}  // namespace handback
