// The volumes that targets damage, made once, and the judgement of a damaged one.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "fuzz/target.h"
#include "hostile/hostile_run.h"

namespace fuzz {

inline hostile::HostileRun& judge() {
  static hostile::HostileRun run;
  return run;
}

inline const hostile::BaseImage& base_image(std::string_view name) {
  static const std::vector<hostile::BaseImage> images = hostile::base_images();
  for (const hostile::BaseImage& image : images) {
    if (image.name == name) return image;
  }
  std::abort();
}

// Opens, uses and checks the image as it is on the device, and takes it back to its base.
inline void judge_image(hostile::ImageDevice& device) {
  std::mt19937_64 random(1);
  const std::string wrong = judge().judge(device, random);
  device.restore();
  if (wrong.empty()) return;
  std::fprintf(stderr, "%s\n", wrong.c_str());
  std::abort();
}

}  // namespace fuzz
