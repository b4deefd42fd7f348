#include "issuer/issuer_registry.h"

#include "base/shield.h"

namespace handback {

IssuerRegistry& issuer_registry() noexcept {
  // Never destroyed: issuers may outlive static objects.
  static auto& registry = *new IssuerRegistry();
  return registry;
}

void IssuerRegistry::add(Issuer::Impl& impl) noexcept {
  lock_.lock();
  impl.registry_previous_ = nullptr;
  impl.registry_next_ = first_;
  if (first_ != nullptr) first_->registry_previous_ = &impl;
  first_ = &impl;
  lock_.unlock();
}

void IssuerRegistry::remove(Issuer::Impl& impl) noexcept {
  lock_.lock();
  (impl.registry_previous_ != nullptr ? impl.registry_previous_->registry_next_ : first_) =
      impl.registry_next_;
  if (impl.registry_next_ != nullptr)
    impl.registry_next_->registry_previous_ = impl.registry_previous_;
  lock_.unlock();
}

std::size_t IssuerRegistry::pin(std::size_t skip, std::span<Issuer::Impl*> into) noexcept {
  std::size_t count = 0;
  lock_.lock();
  for (Issuer::Impl* impl = first_; impl != nullptr && count < into.size();
       impl = impl->registry_next_) {
    if (skip != 0) {
      --skip;
      continue;
    }
    impl->posters_.fetch_add(1, std::memory_order_relaxed);
    into[count++] = impl;
  }
  lock_.unlock();
  return count;
}

void IssuerRegistry::unpin(Issuer::Impl& impl) noexcept {
  impl.posters_.fetch_sub(1, std::memory_order_release);
}

ThreadIssuers& thread_issuers() noexcept {
  static thread_local ThreadIssuers issuers;
  return issuers;
}

void ThreadIssuers::add(Issuer::Impl& impl) noexcept {
  const ShieldScope shield;
  impl.thread_next_ = first;
  first = &impl;
}

void ThreadIssuers::remove(Issuer::Impl& impl) noexcept {
  const ShieldScope shield;
  for (Issuer::Impl** link = &first; *link != nullptr; link = &(*link)->thread_next_) {
    if (*link == &impl) {
      *link = impl.thread_next_;
      return;
    }
  }
}

ThreadIssuers::~ThreadIssuers() {
  while (first != nullptr) {
    Issuer::Impl& impl = *first;
    impl.leave_thread();
    remove(impl);
  }
  const ShieldScope shield;
  shield_state.serve = nullptr;
}

}  // namespace handback
