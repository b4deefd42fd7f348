// The pool that settles what an issuer cannot be handed: requests without DIO_DEFER, and requests
// of handlers that declare a need to wait.
//
// Requests are taken first come, first served, whoever issued them: an issuer that is busy delays
// nobody else's. Each thread has an Issuer of its own for continuations, and stays with them until
// they have ended.
#pragma once

#include <handback/error.h>
#include <cstdint>
#include <memory>

namespace handback {

struct WorkerPoolOptions {
  unsigned threads = 2;  // 1 to 64.
};

struct WorkerPoolStats {
  std::uint64_t queued = 0;     // Requests handed to the pool so far.
  std::uint64_t settled = 0;    // Of these, those that a worker has run.
  std::uint64_t wakeups = 0;    // Times a sleeping worker was woken.
  std::uint64_t depth_max = 0;  // The most that ever stood in line.
  unsigned threads = 0;
};

// Owner: the caller; it outlives every Issuer that names it in IssuerOptions::workers.
class WorkerPool {
 public:
  // Errors: invalid (threads), io (the host is out of threads or descriptors).
  [[nodiscard]] static Result<std::unique_ptr<WorkerPool>> create(
      const WorkerPoolOptions& options = {});
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  // Settles what stands in line, waits for its continuations, and ends the threads.
  ~WorkerPool();

  [[nodiscard]] WorkerPoolStats stats() const noexcept;  // Any thread.

  // The pool of issuers that name none; started by the first request that needs one, and kept until
  // the process ends. Task context. Errors: as create().
  [[nodiscard]] static Result<WorkerPool*> shared();

  class Impl;
  [[nodiscard]] Impl& impl() noexcept { return *impl_; }

 private:
  WorkerPool() noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace handback
