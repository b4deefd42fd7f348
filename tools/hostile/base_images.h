// Small volumes of several kinds, to be damaged.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hostile {

struct BaseImage {
  std::string name;
  std::vector<std::byte> bytes;
};

// 4 MiB each: fresh, closed after use, with a log of every kind of change, torn, with links, with
// many extents, preallocated, with writes whose data and record went together, with checksums of
// data. The same bytes every time: numbers that were chosen by chance or by the clock are replaced.
[[nodiscard]] std::vector<BaseImage> base_images();
// The one of this name, which there is; made once.
[[nodiscard]] const BaseImage& base_image(std::string_view name);
// Of 5 MiB: it has grown.
[[nodiscard]] BaseImage grown_image();

}  // namespace hostile
