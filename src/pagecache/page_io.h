// The cache's own I/O: reads of pages that came to be missed, and write-backs of dirty ones. Both
// are direct requests of the cache on the same file, so the engine maps, splits, zeroes, converts
// and publishes as for anybody's.
#pragma once

#include <handback/issuer.h>
#include <handback/kiocb.h>
#include <cstdint>

#include "issuer/issuer_impl.h"
#include "pagecache/page.h"

namespace handback {

class AddressSpace;

// A request of the cache. Its completion comes in device context, and goes on as posted work.
struct PageIo : Kiocb {
  // Of a write: the file's end is published up to here at most. What lies behind it in the last
  // page is zeros, and nobody's.
  std::uint64_t valid_end = 0;

  AddressSpace* space = nullptr;
  Issuer::Impl* executor = nullptr;
  IoResult result;
  struct Work : IssuerWork {
    PageIo* io = nullptr;
  } ended;  // Its `run` is what comes after.

  // Makes it a request of `issuer` on [offset, ...) of the file; ki_complete posts `ended`.
  void prepare(AddressSpace& of, Issuer::Impl& issuer, std::uint64_t offset, KiocbFlags flags,
               void (*then)(IssuerWork& work) noexcept) noexcept;
};

// A run of pages of one file on their way from the device.
struct PageRead : PageIo {
  static constexpr std::uint32_t pages_max = 32;
  std::uint32_t count = 0;
  Page* pages[pages_max] = {};
  // Pages side by side in memory are one: those of a scan are, since they come and go in order.
  std::uint32_t segment_count = 0;
  iovec segments[pages_max] = {};
  PageRead* next = nullptr;  // Free ones.
};

// A copy of a run of dirty pages on its way to the device. While it is, its pages may be changed
// again.
struct WriteBack : PageIo {
  AlignedBuffer copy;
  iovec segment{};
  std::uint32_t count = 0;
  std::uint64_t first = 0;      // Page index.
  std::uint64_t min_epoch = 0;  // Of its pages.
  PageWaitList waiters;         // For its end.
  WriteBack* next = nullptr;    // Free ones, or those in flight on one file.
  Page* pages[64] = {};
};

}  // namespace handback
