#include <fmt/format.h>
#include <handback/volume.h>

#include "volume/cached_inode.h"
#include "volume/load.h"
#include "volume/volume_file.h"
#include "volume/volume_impl.h"

namespace handback {

Result<std::unique_ptr<Volume>> Volume::open(Issuer& issuer, BlockDevice& device,
                                             const VolumeOptions& options) {
  if (options.page_cache_bytes_max != 0 && options.page_cache_bytes_max < page_cache_bytes_min) {
    return fail(Errc::invalid,
                fmt::format("a page cache has at least {} bytes, or none (0); {} were "
                            "asked for",
                            page_cache_bytes_min, options.page_cache_bytes_max));
  }
  auto claim = DeviceClaim::take(device, !options.read_only && !device.geometry().read_only);
  if (!claim) return tl::unexpected<Error>(std::move(claim.error()));
  if (auto attached = issuer.attach(device); !attached)
    return tl::unexpected<Error>(attached.error());
  auto loaded = load_volume(issuer, device);
  if (!loaded) return tl::unexpected<Error>(std::move(loaded.error()));
  if (const char* number = numbers_used_up(*loaded);
      number != nullptr && !options.read_only && !device.geometry().read_only) {
    return fail(Errc::too_large,
                fmt::format("{}: {} leaves no room for what a writer would number; open it "
                            "read-only and copy its files out",
                            device.name(), number));
  }
  std::unique_ptr<Volume> volume(new Volume(std::make_unique<VolumeImpl>(
      device, std::move(*claim), std::move(*loaded), options, issuer.impl().environment())));
  if (auto decided = volume->impl_->finish_recovery(issuer); !decided)
    return tl::unexpected<Error>(std::move(decided.error()));
  if (!volume->impl_->read_only()) issuer.impl().add_hook(volume->impl_->hook());
  return volume;
}

Volume::Volume(std::unique_ptr<VolumeImpl> impl) noexcept : impl_(std::move(impl)) {}
Volume::~Volume() = default;

Result<void> Volume::close(Issuer& issuer) {
  return impl_->close(issuer);
}
const RecoveryReport& Volume::recovery() const noexcept {
  return impl_->recovery();
}
VolumeInfo Volume::info() const {
  return impl_->info();
}
BlockDevice& Volume::device() const noexcept {
  return impl_->device();
}

Result<std::unique_ptr<VolumeFile>> Volume::open_file(Issuer& issuer, std::string_view path,
                                                      OpenFlags flags) {
  if (auto attached = issuer.attach(impl_->device()); !attached) {
    return tl::unexpected<Error>(attached.error());
  }
  auto inode = impl_->open_inode(path, flags);
  if (!inode) return tl::unexpected<Error>(std::move(inode.error()));
  std::unique_ptr<VolumeFile> file(
      new VolumeFile(std::make_unique<VolumeFile::Impl>(*impl_, **inode)));
  file->impl_->unaligned_through_cache = flags.unaligned_through_cache;
  // Write-backs that failed before are not this handle's.
  if (const CachedInode* const cached = file->impl_->cached(); cached != nullptr)
    file->impl_->errors_told.store(cached->space.errors(), std::memory_order_relaxed);
  if (flags.truncate && file->size() != 0) {
    if (auto emptied = file->truncate(issuer, 0); !emptied)
      return tl::unexpected<Error>(emptied.error());
  }
  return file;
}

Result<void> Volume::mkdir(std::string_view path) {
  return impl_->mkdir(path);
}
Result<void> Volume::link(std::string_view existing, std::string_view path) {
  return impl_->link(existing, path);
}
Result<void> Volume::unlink(std::string_view path) {
  return impl_->unlink(path);
}
Result<void> Volume::rmdir(std::string_view path) {
  return impl_->rmdir(path);
}
Result<void> Volume::rename(std::string_view from, std::string_view to) {
  return impl_->rename(from, to);
}
Result<FileInfo> Volume::stat(std::string_view path) const {
  return impl_->stat(path);
}
Result<std::vector<DirEntry>> Volume::list(std::string_view path) const {
  return impl_->list(path);
}
Result<void> Volume::sync_directory(Issuer& issuer, std::string_view path) {
  return impl_->sync_directory(issuer, path);
}
Result<void> Volume::sync(Issuer& issuer) {
  return impl_->sync(issuer);
}
Result<void> Volume::freeze(Issuer& issuer) {
  return impl_->freeze(issuer);
}
Result<void> Volume::thaw(Issuer& issuer) {
  return impl_->thaw(issuer);
}
bool Volume::frozen() const {
  return impl_->frozen();
}

}  // namespace handback
