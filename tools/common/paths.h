// Paths inside a volume, as text.
#pragma once

#include <handback/issuer.h>
#include <handback/volume.h>
#include <string>
#include <string_view>
#include <vector>

namespace tool {

// "/a/b": one leading separator, none doubled, none at the end. "/" is the root.
// '.', '..' and what else the volume refuses are left for it to refuse.
[[nodiscard]] std::string normal_path(std::string_view path);

[[nodiscard]] std::string join_path(std::string_view directory, std::string_view name);
[[nodiscard]] std::string parent_path(std::string_view path);
[[nodiscard]] std::string base_name(std::string_view path);

// Makes the directory and those above it that are missing. Throws Failure.
void make_directories(handback::Volume& volume, const std::string& path);

struct VolumeEntry {
  std::string path;
  handback::FileInfo info;
};

// Everything at and below `path`, each directory before what is in it, in order of names. Without
// recursion: how deep directories lie within one another is for the image to say. Throws Failure.
[[nodiscard]] std::vector<VolumeEntry> list_tree(const handback::Volume& volume,
                                                 const std::string& path);

}  // namespace tool
