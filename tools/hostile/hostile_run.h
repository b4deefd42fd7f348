// One damaged image after the other: opened, used if it opens, checked; and what must hold of each.
#pragma once

#include <handback/issuer.h>
#include <handback/volume.h>

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "hostile/base_images.h"
#include "hostile/image_device.h"
#include "hostile/mutate.h"

namespace hostile {

struct RunCounters {
  std::uint64_t images = 0;
  std::uint64_t opened = 0;
  std::uint64_t refused = 0;
  std::uint64_t blocks_read_max = 0;             // By one open or check.
  std::uint64_t allocated_max = 0;               // Bytes, by one open or check.
  std::map<std::string, std::uint64_t> reasons;  // Of refusals, without their numbers.
};

// Thread class: one thread, all of it.
class HostileRun {
 public:
  HostileRun();
  ~HostileRun();

  // Tries the image of this seed. Empty, or what was violated. Requires of memory to be counted
  // that the program's operator new is that of allocations.cc.
  [[nodiscard]] std::string try_image(std::uint64_t seed);

  // Checks, opens, uses and closes what is on the device, an image of 4 MiB. Empty, or what was
  // violated. Leaves its writes on the device.
  [[nodiscard]] std::string judge(ImageDevice& device, std::mt19937_64& random);

  [[nodiscard]] const RunCounters& counters() const noexcept { return counters_; }

 private:
  struct Base {
    BaseImage image;
    std::unique_ptr<ImageDevice> device;
    Target target;
  };

  std::string read_folder(handback::Volume& volume, const std::string& path, unsigned depth);
  std::string read_file(handback::Volume& volume, const std::string& path);
  void operate(handback::Volume& volume, std::mt19937_64& random);
  std::string after_close(ImageDevice& device);
  std::string within_caps(const ImageDevice& device, const char* what);

  std::unique_ptr<handback::Issuer> issuer_;
  std::vector<Base> bases_;
  std::uint64_t metadata_blocks_ = 0;  // Of each of them.
  handback::AlignedBuffer buffer_;
  RunCounters counters_;
  std::vector<std::string> files_;    // Of the volume that is open.
  std::vector<std::string> folders_;  // The same.
};

}  // namespace hostile
