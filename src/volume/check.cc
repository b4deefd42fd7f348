#include "volume/check.h"

#include <fmt/format.h>
#include <handback/bio_group.h>

#include "volume/device_claim.h"
#include "volume/load.h"

namespace handback {

Result<void> VolumeCheck::run() {
  device_blocks_ = device_.geometry().size_bytes / fs_block;
  if (Step step = check_superblocks(); !step) return step;
  if (!superblock_) return {};
  if (Step step = check_roots(); !step) return step;
  if (!root_) return {};
  if (Step step = check_checkpoint(); !step) return step;
  check_tree();
  if (Step step = check_log(); !step) return step;
  check_extents();
  if (Step step = check_checksums(); !step) return step;
  return look_for_a_newer_checkpoint();
}

CheckReport VolumeCheck::report() const {
  CheckReport report;
  report.findings = findings_.list();
  report.findings_total = findings_.total();
  report.recovery = recovery_;
  report.blocks_read = blocks_read_;
  if (metadata_ != nullptr) {
    const std::uint64_t log_used =
        log_head_ > root_->log_position ? log_head_ - root_->log_position : 0;
    report.info = volume_info(*superblock_, *metadata_, free_blocks_, log_used);
  }
  return report;
}

Result<void> VolumeCheck::read(std::uint64_t block, AlignedBuffer& to) {
  BioGroup group(issuer_, device_);
  group.read(block * fs_block, to.span());
  const IoResult result = group.run_and_wait();
  group.keep_if_unanswered(to);
  blocks_read_ += to.size() / fs_block;
  if (result.ok()) return {};
  return fail(Errc::io, fmt::format("{}: reading block {} failed: {}; check the device",
                                    device_.name(), block, describe(result)));
}

bool VolumeCheck::read_bytes(std::uint64_t addr, std::span<std::byte> to) {
  BioGroup group(issuer_, device_);
  group.read(addr, to);
  const IoResult result = group.run_and_wait();
  blocks_read_ += (to.size() + fs_block - 1) / fs_block;
  if (result.ok()) return true;
  read_error_ = Error(Errc::io, fmt::format("{}: reading block {} failed: {}; check the device",
                                            device_.name(), addr / fs_block, describe(result)));
  return false;
}

Result<CheckReport> check_volume(Issuer& issuer, BlockDevice& device, const CheckOptions& options) {
  const auto claim = DeviceClaim::take(device, false);
  if (!claim) return tl::unexpected<Error>(claim.error());
  if (auto attached = issuer.attach(device); !attached)
    return tl::unexpected<Error>(attached.error());
  VolumeCheck check(issuer, device, options);
  if (auto done = check.run(); !done) return tl::unexpected<Error>(std::move(done.error()));
  return check.report();
}

}  // namespace handback
