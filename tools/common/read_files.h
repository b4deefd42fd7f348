// Reads files of a volume with many requests in flight and gives their bytes out in order: file
// after file, each from its beginning to its end.
#pragma once

#include <handback/issuer.h>
#include <handback/volume.h>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tool {

// Receives files in the order of the list. Throwing from any function ends the reading.
class FileSink {
 public:
  virtual ~FileSink() = default;
  // False: this file is left out. Asked ahead of begin(), while earlier files are still being
  // received.
  virtual bool wants(std::size_t index) = 0;
  // True: data() is called for what was written only, and the rest up to the file's size is zeros.
  // A file may be a hole larger than any disk.
  [[nodiscard]] virtual bool skips_holes() const { return false; }
  virtual void begin(std::size_t index) = 0;
  virtual void data(std::size_t index, std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual void end(std::size_t index) = 0;
};

// Stops early, between files or within one, when interrupted_by() is set; a file that was begun and
// not ended is incomplete. Throws Failure, naming the path, if one cannot be opened or read.
void read_files(handback::Volume& volume, handback::Issuer& issuer,
                const std::vector<std::string>& volume_paths, FileSink& sink);

}  // namespace tool
