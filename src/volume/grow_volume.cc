// Growing a volume that nobody has open: only superblocks are written.
#include <fmt/format.h>
#include <handback/bio_group.h>

#include "base/planted_bug.h"
#include "volume/device_claim.h"
#include "volume/load.h"
#include "volume/superblock.h"

namespace handback {
namespace {

// Writes a block and makes it durable.
Result<void> write_block(Issuer& issuer, BlockDevice& device, std::uint64_t at,
                         AlignedBuffer& block) {
  BioGroup group(issuer, device);
  group.write(at * fs_block, block.span());
  IoResult result = group.run_and_wait();
  group.keep_if_unanswered(block);
  if (result.ok() && device.geometry().volatile_cache && !planted(PlantedBug::grow_no_flush)) {
    BioGroup flush(issuer, device);
    flush.flush();
    result = flush.run_and_wait();
  }
  if (result.ok()) return {};
  return fail(result.code(), fmt::format("{}: writing block {} failed: {}; check the device",
                                         device.name(), at, describe(result)));
}

}  // namespace

Result<std::uint64_t> Volume::grow(Issuer& issuer, BlockDevice& device) {
  const Geometry& geometry = device.geometry();
  if (geometry.read_only) return fail(Errc::read_only, device.name() + ": the device is read-only");
  if (geometry.size_bytes > volume_size_bytes_max) {
    return fail(Errc::too_large,
                fmt::format("{}: a volume has at most {} bytes, the device has {}", device.name(),
                            volume_size_bytes_max, geometry.size_bytes));
  }
  const auto claim = DeviceClaim::take(device, true);
  if (!claim) return tl::unexpected<Error>(claim.error());
  if (auto attached = issuer.attach(device); !attached)
    return tl::unexpected<Error>(attached.error());
  // What cannot be opened does not grow.
  auto loaded = load_volume(issuer, device);
  if (!loaded) return tl::unexpected<Error>(std::move(loaded.error()));
  Superblock superblock = loaded->superblock;
  const std::uint64_t old_total = superblock.layout.total_blocks;
  const std::uint64_t new_total = geometry.size_bytes / fs_block;
  if (new_total == old_total && !loaded->recovery.backup_superblock_used)
    return old_total * fs_block;
  if (new_total != old_total && superblock.layout.checksum_pages != 0) {
    return fail(Errc::not_supported,
                device.name() +
                    ": a volume with data checksums does not grow, since the area of "
                    "the checksums cannot; format a larger one and copy the files");
  }
  if (new_total != old_total) {
    if ((superblock.incompatible_features & feature_grown) == 0)
      superblock.formatted_blocks = old_total;
    superblock.incompatible_features |= feature_grown;
    superblock.layout = layout_grown(superblock.formatted_blocks, new_total);
  }
  // First the copy at the new end: if block 0 is torn, that is where it is looked for. Until
  // block 0 is written, nothing knows of it.
  AlignedBuffer block(fs_block);
  const std::uint64_t backup = superblock.layout.backup_superblock;
  const auto write = [&](std::uint64_t at) {
    superblock_encode(superblock, at, block.span());
    return write_block(issuer, device, at, block);
  };
  bool backup_first = true;
  if (planted(PlantedBug::grow_block_0_first)) backup_first = false;
  if (auto written = write(backup_first ? backup : superblock_block); !written)
    return tl::unexpected<Error>(written.error());
  if (auto written = write(backup_first ? superblock_block : backup); !written)
    return tl::unexpected<Error>(written.error());
  return new_total * fs_block;
}

}  // namespace handback
