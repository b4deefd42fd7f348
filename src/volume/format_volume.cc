// Making a volume.
#include <fmt/format.h>
#include <handback/bio_group.h>

#include <algorithm>
#include <initializer_list>

#include "volume/device_claim.h"
#include "volume/meta_block.h"
#include "volume/snapshot.h"
#include "volume/superblock.h"
#include "volume/volume_impl.h"

namespace handback {
namespace {

constexpr std::size_t label_bytes_max = 63;

VolumeId random_volume_id(Environment& environment) {
  VolumeId id;
  environment.random_bytes(id);
  // RFC 4122, version 4.
  id[6] = (id[6] & std::byte{0x0f}) | std::byte{0x40};
  id[8] = (id[8] & std::byte{0x3f}) | std::byte{0x80};
  return id;
}

Result<void> check_format(const Geometry& geometry, const std::string& name,
                          const FormatOptions& options) {
  if (geometry.read_only) return fail(Errc::read_only, name + ": the device is read-only");
  if (geometry.size_bytes < volume_size_bytes_min) {
    return fail(Errc::invalid, fmt::format("{}: a volume has at least {} bytes, the device has {}",
                                           name, volume_size_bytes_min, geometry.size_bytes));
  }
  if (geometry.size_bytes > volume_size_bytes_max) {
    return fail(Errc::too_large, fmt::format("{}: a volume has at most {} bytes, the device has {}",
                                             name, volume_size_bytes_max, geometry.size_bytes));
  }
  if (options.label.size() > label_bytes_max || options.label.find('\0') != std::string::npos) {
    return fail(Errc::invalid,
                fmt::format("a label has at most {} bytes and no NUL", label_bytes_max));
  }
  return {};
}

}  // namespace

Result<void> Volume::format(Issuer& issuer, BlockDevice& device, const FormatOptions& options) {
  const Geometry& geometry = device.geometry();
  if (auto possible = check_format(geometry, device.name(), options); !possible) return possible;
  const auto claim = DeviceClaim::take(device, true);
  if (!claim) return tl::unexpected<Error>(claim.error());
  if (auto attached = issuer.attach(device); !attached) return attached;
  const auto io_failed = [&](IoResult result) {
    return fail(result.code(), fmt::format("{}: writing the volume failed: {}; check the device",
                                           device.name(), describe(result)));
  };

  const Layout layout = layout_for(geometry.size_bytes / fs_block, options.data_checksums);
  AlignedBuffer block(fs_block);
  if (!options.overwrite) {
    // Anything that was a volume counts, damaged or of another version too.
    for (const std::uint64_t at : {superblock_block, layout.backup_superblock}) {
      BioGroup probe(issuer, device);
      probe.read(at * fs_block, block.span());
      const IoResult read = probe.run_and_wait();
      probe.keep_if_unanswered(block);
      if (!read.ok()) return io_failed(read);
      MetaHeader header;
      if (meta_peek(block.span(), MetaType::superblock, at, &header) != MetaFault::magic) {
        return fail(Errc::exists,
                    device.name() +
                        ": holds a Handback volume already; formatting would destroy it. "
                        "Force it if that is what you want");
      }
    }
  }

  Superblock superblock;
  superblock.volume_id = random_volume_id(issuer.impl().environment());
  superblock.layout = layout;
  // Its area stays as it is: a page is read only once it was written.
  if (options.data_checksums) superblock.incompatible_features |= feature_data_checksums;
  superblock.created_ns = issuer.impl().environment().realtime_ns();
  superblock.label = options.label;

  std::vector<std::byte> payload = snapshot_encode(Metadata());
  if (options.data_checksums) snapshot_put_stale(payload, {});
  Root root;
  root.generation = 1;
  root.slot = 0;
  root.checkpoint_bytes = payload.size();
  root.log_position = 0;
  root.log_sequence = 1;

  // The old superblocks go first and the new ones come last: a format that is cut off leaves no
  // volume.
  const auto write = [&](auto&& fill, std::initializer_list<AlignedBuffer*> from) -> IoResult {
    BioGroup group(issuer, device);
    fill(group);
    const IoResult written = group.run_and_wait();
    for (AlignedBuffer* buffer : from)
      group.keep_if_unanswered(*buffer);
    if (!written.ok()) return written;
    if (!geometry.volatile_cache) return IoResult::success(0);
    BioGroup flush(issuer, device);
    flush.flush();
    return flush.run_and_wait();
  };
  const IoResult erased = write(
      [&](BioGroup& group) {
        std::fill_n(block.data(), fs_block, std::byte{0});
        group.write(superblock_block * fs_block, block.span());
        group.write(layout.backup_superblock * fs_block, block.span());
      },
      {&block});
  if (!erased.ok()) return io_failed(erased);

  AlignedBuffer checkpoint(fs_block);
  std::copy(payload.begin(), payload.end(), checkpoint.data() + meta_header_bytes);
  meta_seal(checkpoint.span(),
            MetaHeader{.type = MetaType::checkpoint,
                       .volume_id = superblock.volume_id,
                       .address = layout.slot_start[0],
                       .generation = root.generation,
                       .payload_bytes = static_cast<std::uint32_t>(payload.size())});
  AlignedBuffer roots(root_blocks.size() * fs_block);
  for (std::size_t i = 0; i < root_blocks.size(); ++i) {
    root_encode(root, superblock.volume_id, root_blocks[i],
                roots.span().subspan(i * fs_block, fs_block));
  }
  const IoResult filled = write(
      [&](BioGroup& group) {
        group.write(layout.slot_start[0] * fs_block, checkpoint.span());
        for (std::size_t i = 0; i < root_blocks.size(); ++i) {
          group.write(root_blocks[i] * fs_block, roots.span().subspan(i * fs_block, fs_block));
        }
      },
      {&checkpoint, &roots});
  if (!filled.ok()) return io_failed(filled);

  AlignedBuffer backup(fs_block);
  superblock_encode(superblock, superblock_block, block.span());
  superblock_encode(superblock, layout.backup_superblock, backup.span());
  const IoResult named = write(
      [&](BioGroup& group) {
        group.write(superblock_block * fs_block, block.span());
        group.write(layout.backup_superblock * fs_block, backup.span());
      },
      {&block, &backup});
  if (!named.ok()) return io_failed(named);
  return {};
}

}  // namespace handback
