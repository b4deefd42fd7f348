// Repair: what a check found, put right from what is still there. Nothing is guessed, and nothing
// is written unless all of it can be put right.
#include <fmt/format.h>
#include <handback/bio_group.h>
#include <handback/repair.h>

#include <algorithm>
#include <array>

#include "base/planted_bug.h"
#include "volume/check.h"
#include "volume/device_claim.h"
#include "volume/meta_block.h"
#include "volume/snapshot.h"

namespace handback {
namespace {

class Repair {
 public:
  Repair(Issuer& issuer, BlockDevice& device, const VolumeCheck& check)
      : issuer_(issuer), device_(device), check_(check) {}

  // False: something has no remedy.
  bool plan();
  // Each step is durable before the next.
  Result<void> carry_out();

  RepairReport report;

 private:
  void refuse(const CheckFinding& finding, std::string_view why);
  Result<void> flush();
  Result<void> write(std::uint64_t block, AlignedBuffer& from);
  Result<void> read(std::uint64_t block, AlignedBuffer& to);
  Result<void> write_root(std::size_t which, const Root& root);
  Result<void> write_checkpoint();

  Issuer& issuer_;
  BlockDevice& device_;
  const VolumeCheck& check_;
  std::optional<std::uint64_t> bad_superblock_;
  std::array<bool, 2> bad_root_{};
  bool new_checkpoint_ = false;
};

void Repair::refuse(const CheckFinding& finding, std::string_view why) {
  report.refusals.push_back(fmt::format("{} (block {}), {}: {}; {}", finding.structure,
                                        finding.block, finding.field, finding.problem, why));
}

bool Repair::plan() {
  const Findings& findings = check_.findings();
  for (std::size_t i = 0; i < findings.list().size(); ++i) {
    const CheckFinding& finding = findings.list()[i];
    switch (findings.remedy(i)) {
      case Remedy::none:
        refuse(finding, "nothing that is left says how it was");
        break;
      case Remedy::superblock:
        bad_superblock_ = finding.block;
        break;
      case Remedy::root:
        bad_root_[finding.block == root_blocks[0] ? 0 : 1] = true;
        break;
      case Remedy::checkpoint:
        new_checkpoint_ = true;
        break;
    }
  }
  if (findings.total() != 0 && check_.superblock().version_minor > format_version_minor) {
    report.refusals.push_back(
        fmt::format("format {}.{} is newer than this program, which would lose what it does not "
                    "know; repair it with a newer Handback",
                    check_.superblock().version_major, check_.superblock().version_minor));
  }
  if (findings.total() != findings.list().size())
    report.refusals.emplace_back("there are more findings than are listed");
  // A twin vouches for a block only where all else says that the volume is the one it names.
  if (report.refusals.empty() && findings.total() != 0 && check_.metadata() == nullptr)
    report.refusals.emplace_back("the volume's contents cannot be read");
  if (!report.refusals.empty() && !planted(PlantedBug::repair_in_spite_of_refusals)) return false;
  const auto step = [&](std::string text) { report.plan.push_back(std::move(text)); };
  for (std::size_t i = 0; i < root_blocks.size(); ++i) {
    if (bad_root_[i])
      step(fmt::format("write the root in block {} anew from the one in block {}", root_blocks[i],
                       root_blocks[1 - i]));
  }
  if (check_.torn_block())
    step(fmt::format("erase block {}, where the log ends in a record that was cut off",
                     *check_.torn_block()));
  if (new_checkpoint_) {
    step(fmt::format(
        "write a checkpoint of generation {} with {}, and both roots", check_.root().generation + 1,
        check_.has_damaged_checksum_pages() ? "what is damaged of the checksums called unknown"
                                            : "the counts corrected"));
  }
  if (bad_superblock_) {
    const std::uint64_t backup = check_.superblock().layout.backup_superblock;
    step(fmt::format("write the superblock in block {} anew from the one in block {}",
                     *bad_superblock_, *bad_superblock_ == superblock_block ? backup : 0));
  }
  return true;
}

Result<void> Repair::flush() {
  if (!device_.geometry().volatile_cache) return {};
  BioGroup group(issuer_, device_);
  group.flush();
  const IoResult result = group.run_and_wait();
  if (result.ok()) return {};
  return fail(result.code(), fmt::format("{}: flushing failed: {}; the repair is not complete; "
                                         "check the device and repair again",
                                         device_.name(), describe(result)));
}

Result<void> Repair::read(std::uint64_t block, AlignedBuffer& to) {
  BioGroup group(issuer_, device_);
  group.read(block * fs_block, to.span());
  const IoResult result = group.run_and_wait();
  group.keep_if_unanswered(to);
  if (result.ok()) return {};
  return fail(result.code(), fmt::format("{}: reading block {} failed: {}; check the device",
                                         device_.name(), block, describe(result)));
}

Result<void> Repair::write(std::uint64_t block, AlignedBuffer& from) {
  BioGroup group(issuer_, device_);
  group.write(block * fs_block, from.span());
  const IoResult result = group.run_and_wait();
  group.keep_if_unanswered(from);
  if (!result.ok()) {
    return fail(result.code(),
                fmt::format("{}: writing block {} failed: {}; the repair is not complete; check "
                            "the device and repair again",
                            device_.name(), block, describe(result)));
  }
  ++report.blocks_written;
  return flush();
}

Result<void> Repair::write_root(std::size_t which, const Root& root) {
  AlignedBuffer block(fs_block);
  root_encode(root, check_.superblock().volume_id, root_blocks[which], block.span());
  return write(root_blocks[which], block);
}

// As the journal does: into the area that no root names, then one root after the other.
Result<void> Repair::write_checkpoint() {
  const Superblock& superblock = check_.superblock();
  std::vector<std::byte> payload = snapshot_encode(*check_.metadata());
  if (superblock.layout.checksum_pages != 0)
    snapshot_put_stale(payload, check_.stale_checksum_pages());
  Root root = check_.root();
  ++root.generation;
  root.slot = 1 - root.slot;
  root.checkpoint_bytes = payload.size();
  root.log_position = check_.log_head();
  root.log_sequence = check_.next_sequence();
  root.next_write_id = check_.next_write_id();
  root.oldest_minor = std::min(root.oldest_minor, format_version_minor);
  const std::uint64_t start = superblock.layout.slot_start[root.slot];
  for (std::size_t at = 0, i = 0; at < payload.size(); at += meta_payload_bytes_max, ++i) {
    const std::size_t length = std::min(payload.size() - at, meta_payload_bytes_max);
    AlignedBuffer block(fs_block);
    std::copy_n(payload.data() + at, length, block.data() + meta_header_bytes);
    meta_seal(block.span(), MetaHeader{.type = MetaType::checkpoint,
                                       .volume_id = superblock.volume_id,
                                       .address = start + i,
                                       .generation = root.generation,
                                       .sequence = i,
                                       .payload_bytes = static_cast<std::uint32_t>(length)});
    if (auto written = write(start + i, block); !written) return written;
  }
  for (std::size_t i = 0; i < root_blocks.size(); ++i) {
    if (auto written = write_root(i, root); !written) return written;
  }
  return {};
}

Result<void> Repair::carry_out() {
  // What was read may be in a cache only, data that a new checkpoint makes visible too.
  if (auto flushed = flush(); !flushed) return flushed;
  // Both roots first: an older one may name the area of the next checkpoint.
  for (std::size_t i = 0; i < root_blocks.size(); ++i) {
    if (planted(PlantedBug::repair_over_the_older_root) && !bad_root_[i]) continue;
    if (!bad_root_[i] && !(new_checkpoint_ && i != check_.root_copy())) continue;
    if (auto written = write_root(i, check_.root()); !written) return written;
  }
  if (check_.torn_block()) {
    AlignedBuffer nothing(fs_block);
    if (auto written = write(*check_.torn_block(), nothing); !written) return written;
  }
  if (new_checkpoint_) {
    if (auto written = write_checkpoint(); !written) return written;
  }
  if (bad_superblock_) {
    // The twin as it is, for the other address.
    AlignedBuffer block(fs_block);
    const std::uint64_t backup = check_.superblock().layout.backup_superblock;
    const std::uint64_t twin = *bad_superblock_ == superblock_block ? backup : superblock_block;
    if (auto got = read(twin, block); !got) return got;
    MetaHeader header;
    if (meta_open(block.span(), MetaType::superblock, twin, nullptr, &header) != MetaFault::none) {
      return fail(Errc::io, fmt::format("{}: block {} reads differently from a moment ago; check "
                                        "the device",
                                        device_.name(), twin));
    }
    header.address = *bad_superblock_;
    meta_seal(block.span(), header);
    if (auto written = write(*bad_superblock_, block); !written) return written;
  }
  return {};
}

}  // namespace

Result<RepairReport> repair_volume(Issuer& issuer, BlockDevice& device,
                                   const RepairOptions& options) {
  if (device.geometry().read_only)
    return fail(Errc::read_only, device.name() + ": the device is read-only");
  const auto claim = DeviceClaim::take(device, true);
  if (!claim) return tl::unexpected<Error>(claim.error());
  if (auto attached = issuer.attach(device); !attached)
    return tl::unexpected<Error>(attached.error());
  VolumeCheck check(issuer, device);
  if (auto done = check.run(); !done) return tl::unexpected<Error>(std::move(done.error()));
  Repair repair(issuer, device, check);
  RepairReport& report = repair.report;
  report.check = check.report();
  if (!repair.plan()) {
    report.outcome = RepairOutcome::refused;
    report.plan.clear();
    return std::move(report);
  }
  if (report.plan.empty()) return std::move(report);
  if (options.confirm && !options.confirm(report.plan)) {
    report.outcome = RepairOutcome::declined;
    return std::move(report);
  }
  if (auto done = repair.carry_out(); !done) return tl::unexpected<Error>(std::move(done.error()));
  report.outcome = RepairOutcome::repaired;
  return std::move(report);
}

}  // namespace handback
