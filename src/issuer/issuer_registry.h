// All issuers of the process, for those who help; and those of one thread, for its signal handler
// and its end.
#pragma once

#include <cstddef>
#include <span>

#include "base/leaf_lock.h"
#include "issuer/issuer_impl.h"

namespace handback {

struct IssuerRegistry {
  void add(Issuer::Impl& impl) noexcept;
  void remove(Issuer::Impl& impl) noexcept;

  // Pins issuers from number `skip` on, as many as fit into `into`; returns how many. A pinned one
  // waits in its destructor.
  std::size_t pin(std::size_t skip, std::span<Issuer::Impl*> into) noexcept;
  static void unpin(Issuer::Impl& impl) noexcept;

 private:
  LeafLock lock_;
  Issuer::Impl* first_ = nullptr;
};

[[nodiscard]] IssuerRegistry& issuer_registry() noexcept;

// The calling thread's issuers. Touched by that thread alone, with the shield raised.
struct ThreadIssuers {
  ~ThreadIssuers();
  void add(Issuer::Impl& impl) noexcept;
  void remove(Issuer::Impl& impl) noexcept;

  Issuer::Impl* first = nullptr;
};

[[nodiscard]] ThreadIssuers& thread_issuers() noexcept;

}  // namespace handback
