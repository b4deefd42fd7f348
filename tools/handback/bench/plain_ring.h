// The same load by hand-written io_uring on a plain host file, with the best settings known.
#pragma once

#include <memory>
#include <string>

#include "handback/bench/overwrite_load.h"

namespace tool {

// A host file opened with O_DIRECT and a ring of its own: single issuer with deferred task work
// where the kernel has it, the file and the buffers registered.
class PlainRing {
 public:
  // Opens an existing file. Throws Failure.
  PlainRing(const std::string& path, unsigned depth_max);
  PlainRing(const PlainRing&) = delete;
  PlainRing& operator=(const PlainRing&) = delete;
  ~PlainRing();

  // Throws Failure, also when a signal stopped it.
  [[nodiscard]] RunResult overwrite(const OverwriteLoad& load);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tool
