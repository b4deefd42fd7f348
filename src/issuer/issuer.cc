#include <fmt/format.h>
#include <handback/issuer.h>
#include <unistd.h>

#include <cstring>

#include "base/assert.h"
#include "base/shield.h"
#include "issuer/issuer_impl.h"
#include "issuer/nudge.h"

namespace handback {

namespace {
constexpr KiocbFlags direct_flags = KiocbFlags::direct | KiocbFlags::dio_defer;
}  // namespace

void Aiocb::prepare(File& file, std::uint64_t offset, IovView iov, KiocbFlags flags,
                    Callback on_complete, void* callers_context) noexcept {
  HB_ASSERT(state_ != State::submitted, "an Aiocb in flight is not prepared again");
  ki_filp = &file;
  ki_pos = offset;
  ki_flags = flags;
  iov_ = iov;
  callback = on_complete;
  context = callers_context;
  state_ = State::idle;
}

void Aiocb::prepare_read(File& file, std::uint64_t offset, std::span<std::byte> to,
                         Callback on_complete, void* callers_context) noexcept {
  segment_ = iovec{to.data(), to.size()};
  prepare(file, offset, IovView{&segment_, 1}, direct_flags, on_complete, callers_context);
}

void Aiocb::prepare_write(File& file, std::uint64_t offset, std::span<const std::byte> from,
                          KiocbFlags extra_flags, Callback on_complete,
                          void* callers_context) noexcept {
  // An iovec has no const; writes only read the memory.
  segment_ = iovec{const_cast<std::byte*>(from.data()), from.size()};
  prepare(file, offset, IovView{&segment_, 1}, extra_flags | direct_flags | KiocbFlags::write,
          on_complete, callers_context);
}

void Aiocb::prepare_buffered_read(File& file, std::uint64_t offset, std::span<std::byte> to,
                                  KiocbFlags extra_flags, Callback on_complete,
                                  void* callers_context) noexcept {
  segment_ = iovec{to.data(), to.size()};
  // One that may not wait has nothing to be woken for.
  const bool waits = !has(extra_flags, KiocbFlags::nowait | KiocbFlags::noio);
  prepare(file, offset, IovView{&segment_, 1},
          waits ? extra_flags | KiocbFlags::waitq : extra_flags, on_complete, callers_context);
}

void Aiocb::prepare_buffered_write(File& file, std::uint64_t offset,
                                   std::span<const std::byte> from, KiocbFlags extra_flags,
                                   Callback on_complete, void* callers_context) noexcept {
  segment_ = iovec{const_cast<std::byte*>(from.data()), from.size()};
  prepare(file, offset, IovView{&segment_, 1}, extra_flags | KiocbFlags::write, on_complete,
          callers_context);
}

void Aiocb::prepare_readv(File& file, std::uint64_t offset, IovView to, Callback on_complete,
                          void* callers_context) noexcept {
  prepare(file, offset, to, direct_flags, on_complete, callers_context);
}

void Aiocb::prepare_writev(File& file, std::uint64_t offset, IovView from, KiocbFlags extra_flags,
                           Callback on_complete, void* callers_context) noexcept {
  prepare(file, offset, from, extra_flags | direct_flags | KiocbFlags::write, on_complete,
          callers_context);
}

Result<std::unique_ptr<Issuer>> Issuer::create(const IssuerOptions& options) {
  auto event_fd = Wake::open_event_fd();
  if (!event_fd) return tl::unexpected<Error>(event_fd.error());
  if (options.nudge_signal != 0) {
    if (const int error = prepare_nudge(options.nudge_signal); error != 0) {
      ::close(*event_fd);
      return fail(Errc::invalid,
                  fmt::format("signal {} cannot be used as the nudge: {}; choose another, or 0",
                              options.nudge_signal, std::strerror(error)));
    }
  }
  std::unique_ptr<Issuer> issuer(new Issuer());
  issuer->impl_ = std::make_unique<Impl>(*issuer, *event_fd, options);
  return issuer;
}

Issuer::Issuer() noexcept = default;
Issuer::~Issuer() = default;

void Issuer::submit(Aiocb& aiocb) noexcept {
  const ShieldScope shield;
  impl_->submit(aiocb);
}
void Issuer::kick() noexcept {
  const ShieldScope shield;
  impl_->kick();
}
unsigned Issuer::poll() noexcept {
  const ShieldScope shield;
  return impl_->poll();
}
unsigned Issuer::wait(std::int64_t timeout_ns) noexcept {
  const ShieldScope shield;
  return impl_->wait(timeout_ns);
}
IoResult Issuer::run(Aiocb& aiocb) noexcept {
  const ShieldScope shield;
  return impl_->run(aiocb);
}
std::uint64_t Issuer::in_flight() const noexcept {
  return impl_->in_flight();
}
const IssuerStats& Issuer::stats() const noexcept {
  return impl_->stats();
}
void Issuer::register_buffer(std::span<std::byte> memory) {
  const ShieldScope shield;
  impl_->register_buffer(memory);
}
void Issuer::unregister_buffer(std::span<std::byte> memory) {
  const ShieldScope shield;
  impl_->unregister_buffer(memory);
}
void Issuer::detach(BlockDevice& device) noexcept {
  const ShieldScope shield;
  impl_->detach(device);
}
void Issuer::post(IssuerWork& work) noexcept {
  const ShieldScope shield;
  impl_->notify(work);
}

void Issuer::post_adoptable(IssuerWork& work) noexcept {
  const ShieldScope shield;
  impl_->post(work);
}
void Issuer::hand_back(Kiocb& kiocb) noexcept {
  const ShieldScope shield;
  impl_->hand_back(kiocb);
}

void Issuer::settle_until(bool (*done)(const void* what) noexcept, const void* what) noexcept {
  impl_->wait_until_helped([&] { return done(what); });
}

Result<void> Issuer::attach(BlockDevice& device) {
  const ShieldScope shield;
  Error error(Errc::io, "");
  if (impl_->queue_for(device, &error) == nullptr) return tl::unexpected<Error>(std::move(error));
  return {};
}

}  // namespace handback
