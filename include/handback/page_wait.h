// The page wait entry of an asynchronous buffered read (Kiocb::ki_waitq), after the kernel's
// IOCB_WAITQ.
//
// An issuer that can read again later sets WAITQ and gives its kiocb an entry. A read that meets a
// page under I/O then arms it and returns NotFinal: ki_complete will not be called. When the page's
// I/O has ended, `wake` is called, once for each time the entry was armed, and the issuer calls
// read_iter again with the same arguments, from its own context. What was copied until then is
// remembered in the entry. One entry serves any number of pages in turn, and one read at a time.
// No thread is parked and no worker is used.
//
// Owner: the issuer, from before read_iter until that returned a final outcome, or cancel said
// true. Origin: struct wait_page_queue of Linux 5.9, and io_uring's use of it.
#pragma once

#include <handback/error.h>
#include <cstdint>

namespace handback {

class Kiocb;
struct PageWaitList;
struct WaitPage;

// Where an entry is armed: a page cache.
class PageWaitSource {
 public:
  // Takes an armed entry back. True: it will not be woken. False: it is not armed, so its wake has
  // been called or is on its way, and must be waited for before the entry may go. Any context.
  [[nodiscard]] virtual bool cancel(WaitPage& wait) noexcept = 0;

 protected:
  ~PageWaitSource() = default;
};

struct WaitPage {
  // The issuer's. Runs on: any thread, context task, worker or issuer; it may do nothing of what
  // contract.h names (no lock, no I/O, no memory): it says to its issuer that the read is to go on.
  void (*wake)(WaitPage& wait) noexcept = nullptr;
  void* owner = nullptr;

  // The read's progress. 0 before the first call of read_iter.
  std::uint64_t bytes_done = 0;

  // --- the cache's ---
  IoResult error;                    // Why the page that was waited for did not come.
  PageWaitSource* source = nullptr;  // Where it was armed last.
  PageWaitList* list = nullptr;      // Where it is armed now; under the source's lock.
  WaitPage* next = nullptr;

  // Before a new read.
  void reset() noexcept {
    bytes_done = 0;
    error = {};
    source = nullptr;
  }
};

// See PageWaitSource::cancel(). Of an entry that was never armed: false. Runs on: the issuer's
// thread.
[[nodiscard]] inline bool cancel_page_wait(WaitPage& wait) noexcept {
  return wait.source != nullptr && wait.source->cancel(wait);
}

}  // namespace handback
