// What an inode needs while somebody has it open: the requests in flight, appends, the state of its
// tail.
#pragma once

#include <handback/iomap.h>
#include <atomic>
#include <cstdint>

#include "base/leaf_lock.h"

namespace handback {

class CachedInode;

struct OpenInode {
  OpenInode();
  ~OpenInode();

  // Guarded by the volume's metadata lock.
  std::uint32_t handles = 0;

  // From the first buffered request on; it stays until this goes. Made under the metadata lock.
  std::atomic<CachedInode*> cached{nullptr};

  DioInflight inflight;

  // Bytes between the end of the file and the end of its last block may be other than zero, so they
  // are zeroed before the file grows past them. Not kept on disk: true at opening, unless the size
  // is aligned.
  std::atomic<bool> tail_unclean{false};

  // The newest record that calls stale a checksum page that data of the file waits for.
  std::atomic<std::uint64_t> mark_sequence{0};
};

}  // namespace handback
