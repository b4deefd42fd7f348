// The cached pages of one file: buffered reads and writes, write-back, and what direct I/O on the
// same file needs to see and to leave nothing stale behind. After the kernel's address_space.
//
// Ranges: a buffered write, a direct write and a change of the file's mapping (truncation, hole)
// enter `ranges` in whole pages, so that a page is never changed in memory while its bytes are
// written past it. Buffered reads enter nothing: pages that they bring in meanwhile are
// invalidated when the direct write has settled. Whoever holds a range here waits for page I/O and
// for ranges of the file's own table (DioInflight), never the other way around.
//
// Thread class: any thread; task or issuer context, except what says otherwise.
#pragma once

#include <handback/iomap.h>
#include <handback/kiocb.h>
#include <atomic>
#include <cstdint>

#include "dio/inflight.h"
#include "pagecache/cache_task.h"
#include "pagecache/page_cache.h"

namespace handback {

// What the cache needs of a file.
class CachedFile {
 public:
  // A direct request on whole pages. A write publishes the file's size up to io.valid_end at most.
  // A read that ends beyond the file's end gets what there is.
  virtual Outcome page_io(PageIo& io, IovView iov) noexcept = 0;
  // Where the file ends without what is dirty here. Any context.
  [[nodiscard]] virtual std::uint64_t published_size() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t size_bytes_max() const noexcept = 0;
  // Takes space for what is not allocated of the range, so that its write-back finds it. NotFinal:
  // task.go_on() comes when it is worth another try.
  virtual Outcome reserve(CacheTask& task, std::uint64_t offset, std::uint64_t length,
                          bool nowait) noexcept = 0;
  // All of the file's data and metadata that was published before becomes durable. NotFinal:
  // task.go_on(result) comes.
  virtual Outcome make_durable(CacheTask& task) noexcept = 0;
  // The direct requests in flight on the file.
  [[nodiscard]] virtual DioInflight& direct_writes() noexcept = 0;
  // Whether a write can succeed at all.
  [[nodiscard]] virtual IoResult check_writable() const noexcept = 0;

 protected:
  ~CachedFile() = default;
};

// What one open handle remembers of its reads. Guarded by the cache's lock.
struct ReadaheadState {
  std::uint64_t last = ~std::uint64_t{0};  // The page that was read last.
  std::uint64_t next = ~std::uint64_t{0};  // Where the stretch that was read ahead ends.
  std::uint32_t window = 0;                // Pages; 0: not sequential.
};

class AddressSpace : public DirtySpaceHook {
 public:
  AddressSpace(PageCache& of, CachedFile& to) noexcept
      : cache(of), file(to), number(of.next_space_number()) {}
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;
  ~AddressSpace();  // Requires: idle().

  // --- requests (buffered_read.cc, buffered_write.cc) ---
  // Return as File::read_iter and write_iter do; the flags have been checked.
  Outcome read(Kiocb& kiocb, IovView to, ReadaheadState& ahead) noexcept;
  // `through`: also written back before it ends, as DSYNC does.
  Outcome write(Kiocb& kiocb, IovView from, bool through) noexcept;

  // --- beside direct I/O (address_space.cc) ---
  // Where the file ends, with what is dirty. Any context.
  [[nodiscard]] std::uint64_t size() const noexcept;
  // Pages of [offset, end) are up to date or on their way in. Any context.
  [[nodiscard]] bool has_pages(std::uint64_t offset, std::uint64_t end) const noexcept;
  // Pages of the range are newer than the device, or being written to it.
  [[nodiscard]] bool has_unwritten_back(std::uint64_t offset, std::uint64_t end) const noexcept;
  // What the pages of the range hold is the file's no more. Requires: none is dirty. Any context.
  void invalidate(std::uint64_t offset, std::uint64_t end) noexcept;

  // --- write-back (write_back.cc) ---
  // Of what was dirty when it began.
  struct Flush {
    std::uint64_t offset = 0;
    std::uint64_t end = ~std::uint64_t{0};
    std::uint64_t epoch = 0;
    std::uint64_t errors = 0;
  };
  [[nodiscard]] Flush begin_flush(std::uint64_t offset = 0,
                                  std::uint64_t end = ~std::uint64_t{0}) noexcept;
  // A step of a task: NotFinal: the task's entry is armed.
  Outcome flush_step(const Flush& flush, CacheTask& task) noexcept;
  // The same for a caller that may wait.
  IoResult flush_and_wait(Issuer& issuer, std::uint64_t offset = 0,
                          std::uint64_t end = ~std::uint64_t{0}) noexcept;
  // Starts what can be started of it. True: something was, or is in flight.
  bool start_write_back(Issuer::Impl& executor) noexcept;
  // How often write-backs have failed, and how the last one did. Each handle compares for itself.
  [[nodiscard]] std::uint64_t errors() const noexcept;
  [[nodiscard]] IoResult last_error() const noexcept;

  // --- for calls that change the file's mapping; task context, the range is held ---
  // Waits until no page of the range is in flight.
  void wait_until_idle(Issuer& issuer, std::uint64_t offset, std::uint64_t end) noexcept;
  // The file ends at `size` now. Pages behind it are for drop().
  void truncated(std::uint64_t size) noexcept;
  // Forgets all pages, unless something is in flight or, without `dirty_too`, dirty. Then nobody
  // can start anything here any more but a user of the file.
  [[nodiscard]] bool try_drop_all(bool dirty_too) noexcept;
  // Forgets the pages of the range, dirty ones too. Requires: none is in flight.
  void drop(std::uint64_t offset, std::uint64_t end) noexcept;

  // Nothing of it is in flight or dirty.
  [[nodiscard]] bool is_clean() const noexcept;
  // Nothing of it is in flight; it may be dirty.
  [[nodiscard]] bool is_idle() const noexcept;
  // Whether it has had dirty pages for so long, as far as was seen: the first time that this finds
  // any counts as their beginning.
  [[nodiscard]] bool is_dirty_since(std::uint64_t age_ns, std::uint64_t now_ns) noexcept;

  PageCache& cache;
  CachedFile& file;
  const std::uint16_t number;  // Among those of the cache; they may repeat.
  DioInflight ranges;

 private:
  friend class PageCache;
  friend struct BufferedRead;
  friend struct BufferedWrite;

  Outcome drive_read(Kiocb& kiocb, IovView to, ReadaheadState& ahead, WaitPage* wait,
                     std::uint64_t* done) noexcept;
  void start_ahead_of(ReadaheadState& ahead, std::uint64_t index, std::uint64_t count, bool drop,
                      Kiocb& kiocb) noexcept;
  void let_go(std::uint64_t index) noexcept;
  static constexpr std::uint64_t no_page = ~std::uint64_t{0};
  struct ReadPages {
    std::uint64_t index = 0;
    std::uint64_t count = 1;
    bool drop = false;             // DONTCACHE.
    std::uint64_t mark = no_page;  // Gets Page::marks_readahead.
  };
  // Reads pages from an index on, as many as are missing there, up to a count. Takes the lock over
  // and lets go of it. would_block: there is no memory, or no record, now. NotFinal: `wait` is
  // armed for the end of the first page's read. Success: look again, the page is there, on its way,
  // or (without `wait`) its read was started.
  Outcome start_read(PageCacheLock& guard, const ReadPages& what, WaitPage* wait,
                     Issuer::Impl& executor) noexcept;
  static void read_ended(IssuerWork& work) noexcept;
  static void end_read(PageRead& read, IoResult result) noexcept;
  // Pages to read from `index` on, for a read of `count`; moves the handle's window. Lock held.
  std::uint64_t read_ahead_from(ReadaheadState& ahead, std::uint64_t index,
                                std::uint64_t count) noexcept;

  enum class Started : std::uint8_t { started, nothing, no_record, others_start };
  Started start_one(std::uint64_t offset, std::uint64_t end, std::uint64_t epoch, bool retry,
                    Issuer::Impl& executor) noexcept;
  static void write_back_ended(IssuerWork& work) noexcept;
  static void end_write_back(WriteBack& write, IoResult result) noexcept;
  [[nodiscard]] WriteBack* in_flight_within(const Flush& flush) noexcept;

  // Lock held.
  [[nodiscard]] bool idle_locked() const noexcept {
    return write_backs_ == nullptr && reading_ == 0 && !starting_ && ending_ == 0;
  }
  void mark_dirty(Page& page) noexcept;
  void mark_clean(Page& page) noexcept;
  void forget(Page& page) noexcept;

  // --- guarded by the cache's lock ---
  SpacePages pages_;
  DirtyPages dirty_;
  std::uint64_t reading_ = 0;
  std::uint64_t epoch_ = 1;
  std::uint64_t errors_ = 0;
  IoResult error_;
  std::uint64_t seen_dirty_ns_ = 0;
  WriteBack* write_backs_ = nullptr;  // In flight.
  bool starting_ = false;             // Somebody takes pages and starts their write-back.
  PageWaitList for_starting_;
  unsigned ending_ = 0;  // Somebody without the lock is about to use it.
  bool listed_ = false;  // Among the cache's dirty files.

  // No direct write is in flight that knows nothing of this.
  std::atomic<bool> accepts_writes_{false};
  std::atomic<std::uint64_t> page_count_{0};       // Written under the lock.
  std::atomic<std::uint64_t> unwritten_count_{0};  // Dirty pages and write-backs; the same.
  // Where buffered writes have ended that are not published yet. The same.
  std::atomic<std::uint64_t> buffered_end_{0};
};

}  // namespace handback
