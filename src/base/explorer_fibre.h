// A stack of its own for each logical thread of a schedule. For tests only.
//
// Boost's lowest layer, because the public boost::context::fiber unwinds its stack by an exception
// when it is destroyed: the stack of a thread in a deadlock stands inside functions that may not
// throw. Here a stack is simply given up; what runs on it must own no memory.
#pragma once

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace handback::testing {

class Fibre {
 public:
  using Body = void (*)(void* argument);  // Never returns.

  // Stands for the stack that the calling thread already has.
  Fibre() noexcept {
#if defined(__SANITIZE_THREAD__)
    tsan_fibre_ = __tsan_get_current_fiber();
#endif
  }

  Fibre(Body body, void* argument) : body_(body), argument_(argument) {
    void* const memory = ::mmap(nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || ::mprotect(memory, guard_bytes, PROT_NONE) != 0) std::abort();
    stack_ = static_cast<std::byte*>(memory) + guard_bytes;
    bottom_ = stack_;
    bytes_ = stack_bytes;
    context_ = boost::context::detail::make_fcontext(stack_ + stack_bytes, stack_bytes, &enter);
#if defined(__SANITIZE_THREAD__)
    tsan_fibre_ = __tsan_create_fiber(0);
#endif
  }

  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;

  ~Fibre() {
    if (stack_ == nullptr) return;
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(tsan_fibre_);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack_, stack_bytes);
#endif
    ::munmap(stack_ - guard_bytes, stack_bytes + guard_bytes);
  }

  // Stops the running fibre, which is *this, and goes on with `next`. Returns when somebody
  // switches back.
  void switch_to(Fibre& next) noexcept {
    entering_ = &next;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake_stack_, next.bottom_, next.bytes_);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(next.tsan_fibre_, 0);
#endif
    arrived(boost::context::detail::jump_fcontext(next.context_, this));
  }

 private:
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  static constexpr std::size_t stack_bytes = 256 << 10;
#else
  static constexpr std::size_t stack_bytes = 64 << 10;
#endif
  static constexpr std::size_t guard_bytes = 4096;

  // On the stack of *this, just switched to.
  void arrived(boost::context::detail::transfer_t from) noexcept {
    auto& previous = *static_cast<Fibre*>(from.data);
    previous.context_ = from.fctx;
#if defined(__SANITIZE_ADDRESS__)
    // Also how the thread's own stack becomes known.
    __sanitizer_finish_switch_fiber(fake_stack_, &previous.bottom_, &previous.bytes_);
#endif
  }

  static void enter(boost::context::detail::transfer_t from) {
    Fibre& self = *entering_;
    self.arrived(from);
    self.body_(self.argument_);
    std::abort();
  }

  static inline Fibre* entering_ = nullptr;  // For the first switch to a fibre.

  Body body_ = nullptr;
  void* argument_ = nullptr;
  boost::context::detail::fcontext_t context_ = nullptr;
  std::byte* stack_ = nullptr;  // Null: the thread's own.
  const void* bottom_ = nullptr;
  std::size_t bytes_ = 0;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack_ = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
  void* tsan_fibre_ = nullptr;
#endif
};

}  // namespace handback::testing
