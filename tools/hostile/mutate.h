// Damage that knows the format: fields get other values, blocks change places, and the checksums
// fit in nine of ten cases.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "hostile/base_images.h"
#include "hostile/format_fields.h"
#include "hostile/image_device.h"

namespace hostile {

// What of a base image can be damaged.
class Target {
 public:
  explicit Target(const BaseImage& base);

  // Damages `device`, which holds this base.
  void damage(ImageDevice& device, std::mt19937_64& random) const;

 private:
  void hit(ImageDevice& device, std::mt19937_64& random) const;
  void hit_field(ImageDevice& device, std::mt19937_64& random) const;
  void hit_bytes(ImageDevice& device, std::mt19937_64& random) const;
  void move_block(ImageDevice& device, std::mt19937_64& random) const;

  // By kind, so that the many fields of one kind do not crowd out the others.
  std::vector<std::vector<Field>> kinds_;
  std::vector<std::uint64_t> blocks_;  // That hold metadata of this volume, old and new.
};

}  // namespace hostile
