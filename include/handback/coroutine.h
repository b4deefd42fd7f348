// Coroutines over the issuer: a thin layer, nothing in the core knows of it.
//
//   Task<IoResult> copy_block(Issuer& issuer, File& from, File& to, std::span<std::byte> block) {
//     const IoResult got = co_await async_read(issuer, from, 0, block);
//     if (!got.ok()) co_return got;
//     co_return co_await async_write(issuer, to, 0, block.first(got.bytes()));
//   }
//
// Everything runs on the issuer's thread: a coroutine goes on where its request is delivered, in
// poll() or wait(). The library never uses symmetric transfer (compilers may turn a loop of it into
// a growing stack): a child that ends without suspending lets its parent simply go on, so that
// loops run in constant stack.
#pragma once

#include <handback/issuer.h>
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace handback {

// One request as something to await; the result is its IoResult. Lives in the awaiting coroutine's
// frame.
class [[nodiscard]] AsyncIo : private Aiocb {
 public:
  AsyncIo(Issuer& through, File& file, std::uint64_t offset, std::span<std::byte> to) noexcept
      : through_(through) {
    prepare_read(file, offset, to, &AsyncIo::delivered, this);
  }
  AsyncIo(Issuer& through, File& file, std::uint64_t offset, std::span<const std::byte> from,
          KiocbFlags flags) noexcept
      : through_(through) {
    prepare_write(file, offset, from, flags, &AsyncIo::delivered, this);
  }
  struct Buffered {};
  AsyncIo(Buffered, Issuer& through, File& file, std::uint64_t offset, std::span<std::byte> to,
          KiocbFlags flags) noexcept
      : through_(through) {
    prepare_buffered_read(file, offset, to, flags, &AsyncIo::delivered, this);
  }
  AsyncIo(Buffered, Issuer& through, File& file, std::uint64_t offset,
          std::span<const std::byte> from, KiocbFlags flags) noexcept
      : through_(through) {
    prepare_buffered_write(file, offset, from, flags, &AsyncIo::delivered, this);
  }

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) noexcept {
    waiting_ = waiting;
    through_.submit(*this);
  }
  IoResult await_resume() const noexcept { return result; }

 private:
  static void delivered(Aiocb& aiocb) noexcept {
    static_cast<AsyncIo*>(aiocb.context)->waiting_.resume();
  }

  Issuer& through_;
  std::coroutine_handle<> waiting_;
};

// Buffers and files are borrowed until the awaiting coroutine goes on.
inline AsyncIo async_read(Issuer& issuer, File& file, std::uint64_t offset,
                          std::span<std::byte> to) noexcept {
  return AsyncIo(issuer, file, offset, to);
}
inline AsyncIo async_write(Issuer& issuer, File& file, std::uint64_t offset,
                           std::span<const std::byte> from,
                           KiocbFlags flags = KiocbFlags::none) noexcept {
  return AsyncIo(issuer, file, offset, from, flags);
}

// The same through the file's page cache, of any alignment; flags as Aiocb::prepare_buffered_read()
// and prepare_buffered_write() take them.
inline AsyncIo async_buffered_read(Issuer& issuer, File& file, std::uint64_t offset,
                                   std::span<std::byte> to,
                                   KiocbFlags flags = KiocbFlags::none) noexcept {
  return AsyncIo(AsyncIo::Buffered{}, issuer, file, offset, to, flags);
}
inline AsyncIo async_buffered_write(Issuer& issuer, File& file, std::uint64_t offset,
                                    std::span<const std::byte> from,
                                    KiocbFlags flags = KiocbFlags::none) noexcept {
  return AsyncIo(AsyncIo::Buffered{}, issuer, file, offset, from, flags);
}

// A coroutine that starts when it is awaited, or by start(), and gives a T.
// Owner: whoever holds it, until it is done; destroying one with a request in flight is a
// programmer error that the request's Aiocb reports. Exceptions end the program: errors are values
// here.
template <typename T>
class [[nodiscard]] Task {
 public:
  struct promise_type {
    Task get_return_object() noexcept {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    struct Final {
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<promise_type> self) const noexcept {
        promise_type& promise = self.promise();
        promise.done = true;
        // A parent still inside its own await_suspend sees `done` and goes on by itself.
        if (promise.parent_suspended) promise.parent.resume();
      }
      void await_resume() const noexcept {}
    };
    Final final_suspend() const noexcept { return {}; }
    void return_value(T result) noexcept { value.emplace(std::move(result)); }
    void unhandled_exception() const noexcept { std::terminate(); }

    std::optional<T> value;
    std::coroutine_handle<> parent;
    bool parent_suspended = false;
    bool done = false;
  };

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  // Runs it to its first suspension. Requires: not started, and nobody will await it.
  void start() noexcept { handle_.resume(); }
  [[nodiscard]] bool done() const noexcept { return handle_.promise().done; }
  // Requires: done().
  T& result() noexcept { return *handle_.promise().value; }

  // Starts it and polls and waits with `issuer` until it is done.
  T run(Issuer& issuer) {
    start();
    while (!done())
      issuer.wait();
    return std::move(result());
  }

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> parent) noexcept {
    promise_type& promise = handle_.promise();
    promise.parent = parent;
    handle_.resume();
    if (promise.done) return false;
    promise.parent_suspended = true;
    return true;
  }
  T await_resume() noexcept { return std::move(*handle_.promise().value); }

 private:
  explicit Task(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

}  // namespace handback
