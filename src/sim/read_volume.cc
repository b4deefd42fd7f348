#include <fmt/format.h>

#include <algorithm>

#include "sim/oracle.h"
#include "sim/sim_random.h"

namespace handback::sim {
namespace {

// Nothing that the simulator makes is longer; a longer file is wrong already.
constexpr std::uint64_t file_bytes_max = 4U << 20;

std::string walk(Volume& volume, const std::string& directory, FoundVolume* found) {
  auto listed = volume.list(directory.empty() ? "/" : directory);
  if (!listed) return "list " + directory + ": " + listed.error().message();
  for (const DirEntry& entry : *listed) {
    const std::string path = directory + "/" + entry.name;
    const bool is_directory = entry.info.type == FileType::directory;
    found->entries.push_back({.path = path,
                              .directory = is_directory,
                              .ino = entry.info.ino,
                              .nlink = entry.info.nlink,
                              .size = entry.info.size_bytes});
    if (is_directory) {
      if (std::string problem = walk(volume, path, found); !problem.empty()) return problem;
    }
  }
  return {};
}

std::string read_file(Issuer& issuer, Volume& volume, const FoundEntry& entry, FoundVolume* found) {
  FoundFile& file = found->files.emplace_back();
  file.ino = entry.ino;
  file.size = entry.size;
  auto handle = volume.open_file(issuer, entry.path);
  if (!handle) return "open " + entry.path + ": " + handle.error().message();
  file.allocated = (*handle)->info().allocated_bytes;
  if (entry.size == 0) return {};
  if (entry.size > file_bytes_max)
    return fmt::format("{}: {} bytes long, nothing that long was made", entry.path, entry.size);
  static thread_local AlignedBuffer buffer(file_bytes_max);
  const std::uint64_t block = volume.device().geometry().logical_block_bytes;
  const std::uint64_t length = (entry.size + block - 1) / block * block;
  Aiocb read;
  read.prepare_read(**handle, 0, buffer.span().first(length));
  const IoResult result = issuer.run(read);
  if (!result.ok() || result.bytes() < entry.size)
    return fmt::format("{}: reading {} bytes: {}, {} bytes", entry.path, entry.size,
                       describe(result), result.bytes());
  for (std::uint64_t at = 0; at + sector_bytes <= entry.size; at += sector_bytes) {
    const auto sector = std::span<const std::byte>(buffer.span()).subspan(at, sector_bytes);
    FoundSector& is = file.sectors.emplace_back();
    is.decoded = decode_sector(sector);
    if (is.decoded.whole) continue;
    is.at = found->torn.size();
    found->torn.insert(found->torn.end(), sector.begin(), sector.end());
  }
  return {};
}

}  // namespace

const FoundFile* FoundVolume::file(std::uint64_t ino) const {
  for (const FoundFile& file : files) {
    if (file.ino == ino) return &file;
  }
  return nullptr;
}

std::uint64_t FoundVolume::digest() const noexcept {
  std::uint64_t digest = free_bytes;
  for (const FoundEntry& entry : entries) {
    for (const char c : entry.path)
      digest = (digest ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    digest = mix(digest, mix(entry.ino * 2 + (entry.directory ? 1 : 0), entry.nlink));
  }
  for (const FoundFile& file : files) {
    digest = mix(digest, mix(file.size, file.allocated));
    for (const FoundSector& sector : file.sectors)
      digest = mix(digest, sector.decoded.stamp + (sector.decoded.whole ? 0 : 1));
  }
  return digest;
}

std::string read_volume(Issuer& issuer, Volume& volume, FoundVolume* found) {
  found->entries.clear();
  found->files.clear();
  found->torn.clear();
  if (std::string problem = walk(volume, "", found); !problem.empty()) return problem;
  std::sort(found->entries.begin(), found->entries.end(),
            [](const FoundEntry& a, const FoundEntry& b) { return a.path < b.path; });
  std::uint64_t allocated = 0;
  for (const FoundEntry& entry : found->entries) {
    if (entry.directory || found->file(entry.ino) != nullptr) continue;
    if (std::string problem = read_file(issuer, volume, entry, found); !problem.empty())
      return problem;
    allocated += found->files.back().allocated;
  }
  const VolumeInfo info = volume.info();
  found->free_bytes = info.free_bytes;
  found->data_bytes = info.data_bytes;
  if (allocated + info.free_bytes != info.data_bytes)
    return fmt::format("space: {} bytes in files and {} free, of {}", allocated, info.free_bytes,
                       info.data_bytes);
  return {};
}

}  // namespace handback::sim
