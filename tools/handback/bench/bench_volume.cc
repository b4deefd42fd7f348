#include "handback/bench/bench_volume.h"

#include <algorithm>

#include "common/failure.h"
#include "common/transfer_ring.h"

namespace tool {
namespace {

constexpr const char* bench_file_path = "/overwrite";
constexpr std::uint64_t volume_overhead_bytes = 64U << 20;

void write_whole(handback::Issuer& issuer, handback::File& file, std::uint64_t file_bytes) {
  TransferRing ring(issuer);
  std::uint64_t next_offset = 0;
  while (next_offset < file_bytes || !ring.empty()) {
    if (next_offset < file_bytes && !ring.full()) {
      Transfer& transfer = ring.claim();
      transfer.offset = next_offset;
      const auto length = static_cast<std::uint32_t>(
          std::min<std::uint64_t>(ring.transfer_bytes(), file_bytes - next_offset));
      next_offset += length;
      ring.submit_write(transfer, file, length);
    } else {
      const handback::IoResult result = ring.oldest().result;
      if (!result.ok()) throw failure_of(result, bench_file_path);
      ring.release_oldest();
    }
  }
}

}  // namespace

std::uint64_t bench_volume_bytes(std::uint64_t file_bytes) {
  return file_bytes + file_bytes / 16 + volume_overhead_bytes;
}

std::unique_ptr<handback::VolumeFile> make_written_file(handback::Volume& volume,
                                                        handback::Issuer& issuer,
                                                        std::uint64_t file_bytes) {
  auto file = value_of(volume.open_file(issuer, bench_file_path,
                                        {.create = true, .exclusive = true, .truncate = false}),
                       bench_file_path);
  write_whole(issuer, *file, file_bytes);
  value_of(volume.sync(issuer), bench_file_path);
  return file;
}

std::unique_ptr<handback::VolumeFile> open_written_file(handback::Volume& volume,
                                                        handback::Issuer& issuer) {
  return value_of(volume.open_file(issuer, bench_file_path), bench_file_path);
}

}  // namespace tool
