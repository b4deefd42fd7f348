#include "dio/flush.h"

#include <cerrno>
#include <new>

#include "issuer/issuer_impl.h"

namespace handback {
namespace {

// The bio ends in device context, where the request must not go on: the work brings it to issuer
// context.
struct FlushContinuation : IssuerWork {
  Bio bio;
  Kiocb* kiocb = nullptr;
  Issuer::Impl* issuer = nullptr;
  IoResult result;
  FlushFailed failed = nullptr;
};
static_assert(sizeof(FlushContinuation) <= dio_record_bytes);

void flush_ended(Bio& bio) noexcept {
  auto& continuation = *static_cast<FlushContinuation*>(bio.private_);
  if (!bio.result.ok()) continuation.result = bio.result;
  continuation.issuer->post(continuation);
}

void flush_settled(IssuerWork& work) noexcept {
  auto& continuation = static_cast<FlushContinuation&>(work);
  Kiocb& kiocb = *continuation.kiocb;
  const IoResult result = continuation.result;
  if (!continuation.bio.result.ok() && continuation.failed != nullptr)
    continuation.failed(kiocb, result);
  Issuer::Impl& issuer = *continuation.issuer;
  issuer.give_back_dio_record(&continuation);
  // Still in flight, so its issuer is there to be asked.
  const bool served = &issuer != &kiocb.issuer->impl();
  dio_end_pending(kiocb, result);
  if (served) issuer.end_background();
}

}  // namespace

Outcome flush_then_end(Kiocb& kiocb, BlockDevice& device, IoResult result,
                       FlushFailed failed) noexcept {
  Issuer::Impl& own = kiocb.issuer->impl();
  Issuer::Impl& issuer = Issuer::Impl::executor(own);
  BlockQueue* queue = issuer.queue_for(device);
  void* record = queue == nullptr ? nullptr : issuer.take_dio_record();
  if (record == nullptr) return IoResult::host_failure(queue == nullptr ? EIO : ENOMEM);
  auto& continuation = *::new (record) FlushContinuation{};
  continuation.run = &flush_settled;
  continuation.kiocb = &kiocb;
  continuation.issuer = &issuer;
  continuation.result = result;
  continuation.failed = failed;
  continuation.bio.op = BioOp::flush;
  continuation.bio.end_io = &flush_ended;
  continuation.bio.private_ = &continuation;
  // It stays with its rings until this has ended.
  if (&issuer != &own) issuer.begin_background();
  const ShieldScope shield;
  queue->submit(&continuation.bio);
  return NotFinal{};
}

}  // namespace handback
