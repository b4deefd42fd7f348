#include "mirror_file/mirror_file.h"

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>

namespace examples {

using namespace handback;

// One upper request, from its arrival until it has ended.
//
// References: one for the submission, one for each clone in flight. Whoever drops the last one goes
// on; after its own decrement nobody else touches the record.
struct MirrorFile::Request {
  MirrorFile* mirror = nullptr;
  Kiocb* upper = nullptr;
  IovView iov;
  std::array<Clone, mirror_legs> clones;
  std::atomic<unsigned> references{0};
  std::atomic<unsigned> first_failed{0};  // 1 + the leg; 0: none.
  bool retried = false;                   // A read that goes, or went, to the other leg.
  bool ended = false;                     // Synchronous caller: its own thread sets and reads it.
  unsigned read_leg = 0;
  struct Work : IssuerWork {
    Request* request = nullptr;
  } work;
  std::atomic<Request*> next_free{nullptr};
};

namespace {

// Of a request that said NotFinal neither then nor later.
void set_route_of_submission(Kiocb& kiocb, IoResult result) noexcept {
  kiocb.route = Route::submit;
  kiocb.route_reason = result.ok() ? RouteReason::submit_ended : RouteReason::error;
}

// Whether another copy of the data may do better; the caller's own mistakes are the same there.
bool is_of_the_data(IoResult result) noexcept {
  return result.code() == Errc::io || result.code() == Errc::timed_out ||
         result.code() == Errc::damaged || result.code() == Errc::poisoned;
}

}  // namespace

MirrorFile::MirrorFile(File& first, File& second) : legs_{&first, &second} {}

MirrorFile::~MirrorFile() {
  std::size_t free_count = 0;
  for (Request* request = free_.load(); request != nullptr; request = request->next_free.load())
    ++free_count;
  if (free_count != requests_.size()) {
    std::fprintf(stderr, "a mirror goes only when none of its requests is in flight\n");
    std::abort();
  }
}

// --- records ---

MirrorFile::Request* MirrorFile::take_request(Kiocb& upper, IovView iov) noexcept try {
  Request* taken = nullptr;
  {
    const std::lock_guard guard(mutex_);
    taken = free_.load(std::memory_order_acquire);
    while (taken != nullptr &&
           !free_.compare_exchange_weak(taken, taken->next_free.load(std::memory_order_relaxed),
                                        std::memory_order_acquire)) {
    }
    if (taken == nullptr) {
      taken = requests_.emplace_back(std::make_unique<Request>()).get();
      taken->mirror = this;
      taken->work.request = taken;
      count(growths_);
    }
  }
  taken->upper = &upper;
  taken->iov = iov;
  taken->first_failed.store(0, std::memory_order_relaxed);
  taken->retried = false;
  for (Clone& clone : taken->clones) {
    clone.request = taken;
    clone.used = false;
  }
  return taken;
} catch (const std::bad_alloc&) {
  return nullptr;
}

void MirrorFile::give_back(Request& request) noexcept {
  Request* head = free_.load(std::memory_order_relaxed);
  do {
    request.next_free.store(head, std::memory_order_relaxed);
  } while (!free_.compare_exchange_weak(head, &request, std::memory_order_release,
                                        std::memory_order_relaxed));
}

// --- submission ---

Outcome MirrorFile::read_iter(Kiocb& kiocb, IovView to) noexcept {
  if (kiocb.is_write()) return IoResult::failure(Errc::invalid, IoDetail::flag_direction);
  // A clone would not have the flag any more, and a flag is refused rather than ignored.
  if (has(kiocb.ki_flags, KiocbFlags::waitq))
    return IoResult::failure(Errc::invalid, IoDetail::flag_waitq);
  Request* request = take_request(kiocb, to);
  if (request == nullptr) return IoResult::failure(Errc::io);
  request->read_leg = leg_to_read();
  return start(*request, 1U << request->read_leg);
}

Outcome MirrorFile::write_iter(Kiocb& kiocb, IovView from) noexcept {
  if (!kiocb.is_write()) return IoResult::failure(Errc::invalid, IoDetail::flag_direction);
  if (has(kiocb.ki_flags, KiocbFlags::waitq))
    return IoResult::failure(Errc::invalid, IoDetail::flag_waitq);
  if (has(kiocb.ki_flags, KiocbFlags::append))
    return IoResult::failure(Errc::not_supported, IoDetail::flag_append);
  if (has(kiocb.ki_flags, KiocbFlags::nowait))
    return IoResult::failure(Errc::not_supported, IoDetail::flag_nowait);
  Request* request = take_request(kiocb, from);
  if (request == nullptr) return IoResult::failure(Errc::io);
  return start(*request, service_.load(std::memory_order_acquire));
}

unsigned MirrorFile::leg_to_read() noexcept {
  const Legs service = service_.load(std::memory_order_acquire);
  if (service != all_legs) return static_cast<unsigned>(std::countr_zero(service));
  return read_turn_.fetch_add(1, std::memory_order_relaxed) % mirror_legs;
}

Outcome MirrorFile::start(Request& request, Legs on) noexcept {
  Kiocb& upper = *request.upper;
  const bool sync = upper.is_sync();
  for (;;) {
    request.ended = false;
    request.references.store(1 + static_cast<unsigned>(std::popcount(on)),
                             std::memory_order_relaxed);
    for (unsigned leg = 0; leg < mirror_legs; ++leg) {
      if ((on >> leg & 1U) != 0) issue(request, leg);
    }
    // From the decrement on, unless it was the last, the request may have ended on another thread.
    const bool ended_here = drop_reference(request);
    if (!ended_here && !sync) return NotFinal{};
    if (!ended_here) {
      Issuer& issuer = *upper.issuer;
      issuer.settle_until([&]() noexcept { return request.ended; });
    }
    if (!may_retry(request)) {
      const IoResult result = conclude(request);
      set_route_of_submission(upper, result);
      if (!ended_here) {
        upper.route = Route::waiter;
        upper.route_reason = RouteReason::sync_caller;
      }
      return result;
    }
    request.retried = true;
    count(reads_retried_);
    on = all_legs & ~(1U << request.read_leg);
  }
}

void MirrorFile::issue(Request& request, unsigned leg) noexcept {
  Clone& clone = request.clones[leg];
  // Not the upper's flags as they are: what its issuer can do says nothing about this file. This
  // file can have handed-back work run (clone_ended), and says so itself.
  clone.init_clone(*request.upper, *legs_[leg]);
  clone.ki_complete = &MirrorFile::clone_ended;
  clone.ki_flags |= KiocbFlags::dio_defer;
  clone.used = true;
  count(clone.is_write() ? counters_[leg].writes : counters_[leg].reads);
  const Outcome outcome = clone.is_write() ? legs_[leg]->write_iter(clone, request.iov)
                                           : legs_[leg]->read_iter(clone, request.iov);
  if (!outcome.is_final()) return;
  note_result(clone, outcome.result());
  // Not the last one: that is the submission's.
  static_cast<void>(drop_reference(request));
}

// --- completion ---

// Any context, any thread.
void MirrorFile::clone_ended(Kiocb& kiocb, Outcome outcome) noexcept {
  if (!outcome.is_final()) {
    // The leg's part of settling is left. Its issuer runs it, or a thread that waits for it; then
    // this is entered again.
    kiocb.issuer->hand_back(kiocb);
    return;
  }
  auto& clone = static_cast<Clone&>(kiocb);
  Request& request = *clone.request;
  MirrorFile& mirror = *request.mirror;
  mirror.note_result(clone, outcome.result());
  // Where the upper request was settled is where its last part was.
  const Route route = clone.route;
  const RouteReason reason = clone.route_reason;
  if (mirror.drop_reference(request)) mirror.all_ended(request, route, reason);
}

void MirrorFile::note_result(Clone& clone, IoResult result) noexcept {
  Request& request = *clone.request;
  clone.result = result;
  if (result.ok()) return;
  const auto leg = static_cast<unsigned>(&clone - request.clones.data());
  count(clone.is_write() ? counters_[leg].write_errors : counters_[leg].read_errors);
  unsigned none = 0;
  request.first_failed.compare_exchange_strong(none, leg + 1, std::memory_order_relaxed);
}

bool MirrorFile::drop_reference(Request& request) noexcept {
  // acq_rel: the last one sees every clone's result.
  return request.references.fetch_sub(1, std::memory_order_acq_rel) == 1;
}

// After the submission, in any context.
void MirrorFile::all_ended(Request& request, Route route, RouteReason reason) noexcept {
  Kiocb& upper = *request.upper;
  if (upper.is_sync()) {
    request.work.run = [](IssuerWork& work) noexcept {
      static_cast<Request::Work&>(work).request->ended = true;
    };
    upper.issuer->post(request.work);
    return;
  }
  if (may_retry(request)) {
    // A bio's end submits nothing. Adoptable: who drains the leg may wait for the other one.
    request.work.run = &MirrorFile::retry;
    upper.issuer->post_adoptable(request.work);
    return;
  }
  upper.route = route;
  upper.route_reason = reason;
  const IoResult result = conclude(request);
  upper.ki_complete(upper, result);
}

bool MirrorFile::may_retry(const Request& request) const noexcept {
  if (request.upper->is_write() || request.retried) return false;
  return is_of_the_data(request.clones[request.read_leg].result) &&
         in_service(mirror_legs - 1 - request.read_leg);
}

// Issuer context: on the upper request's issuer, or on a thread that adopts it.
void MirrorFile::retry(IssuerWork& work) noexcept {
  Request& request = *static_cast<Request::Work&>(work).request;
  MirrorFile& mirror = *request.mirror;
  request.retried = true;
  mirror.count(mirror.reads_retried_);
  request.references.store(2, std::memory_order_relaxed);
  mirror.issue(request, mirror_legs - 1 - request.read_leg);
  if (mirror.drop_reference(request)) mirror.all_ended(request, Route::issuer, RouteReason::error);
}

IoResult MirrorFile::conclude(Request& request) noexcept {
  const unsigned other = mirror_legs - 1 - request.read_leg;
  IoResult result;
  if (request.upper->is_write()) {
    result = write_result(request);
  } else if (request.retried && request.clones[other].result.ok()) {
    result = request.clones[other].result;
  } else {
    result = request.clones[request.read_leg].result;
  }
  give_back(request);
  return result;
}

// Takes a leg out of service that missed what the other one has. Both may have failed, also legs
// that other writes have taken out meanwhile: then the write is nowhere where it would be read.
IoResult MirrorFile::write_result(const Request& request) noexcept {
  Legs has_it = 0;
  Legs missed_it = 0;
  bool data_failed = false;
  for (unsigned leg = 0; leg < mirror_legs; ++leg) {
    const Clone& clone = request.clones[leg];
    if (!clone.used) continue;
    (clone.result.ok() ? has_it : missed_it) |= 1U << leg;
    data_failed |= is_of_the_data(clone.result);
  }
  const unsigned first_failed = request.first_failed.load(std::memory_order_relaxed);
  Legs service = service_.load(std::memory_order_acquire);
  for (;;) {
    const Legs good = service & has_it;
    Legs stays = service & ~missed_it;
    if (good == 0) {
      // What the legs hold there may differ now, so that one alone has to say what is true.
      stays = data_failed && service == all_legs ? service & ~(1U << (first_failed - 1)) : service;
    }
    if (!service_.compare_exchange_weak(service, stays, std::memory_order_acq_rel)) continue;
    if (good == 0) return request.clones[first_failed - 1].result;
    return request.clones[static_cast<unsigned>(std::countr_zero(good))].result;
  }
}

MirrorStats MirrorFile::stats() const noexcept {
  MirrorStats stats;
  const auto value = [](const std::atomic<std::uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  for (unsigned leg = 0; leg < mirror_legs; ++leg) {
    stats.reads[leg] = value(counters_[leg].reads);
    stats.writes[leg] = value(counters_[leg].writes);
    stats.read_errors[leg] = value(counters_[leg].read_errors);
    stats.write_errors[leg] = value(counters_[leg].write_errors);
  }
  stats.reads_retried = value(reads_retried_);
  stats.requests_growths = value(growths_);
  return stats;
}

}  // namespace examples
