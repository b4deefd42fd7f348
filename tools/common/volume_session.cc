#include "common/volume_session.h"

#include <fmt/format.h>

#include "common/text.h"

namespace tool {

DeviceSession::DeviceSession(const std::string& path, const SessionOptions& options, Phase phase)
    : path_(path) {
  handback::HostDeviceOptions host;
  host.engine = options.engine;
  host.read_only = !options.writable;
  host.notice = [](std::string_view text) { print_error(text); };
  device_ = value_of(handback::open_host_device(path, host), path, phase);
  issuer_ = value_of(handback::Issuer::create(), path, phase);
  value_of(issuer_->attach(*device_), path, phase);
}

VolumeSession::VolumeSession(const std::string& path, const SessionOptions& options)
    : session_(path, options), writable_(options.writable) {
  handback::VolumeOptions volume;
  volume.read_only = !options.writable;
  volume.commit_interval_ms = options.commit_interval_ms;
  volume_ = value_of(handback::Volume::open(session_.issuer(), session_.device(), volume), path,
                     Phase::opening);
  if (!volume_->recovery().clean && !options.quiet) {
    print_error(
        fmt::format("{}: was not closed; {}", path, describe_recovery(volume_->recovery())));
  }
}

VolumeSession::~VolumeSession() {
  if (volume_ != nullptr && writable_) {
    const auto ignored = volume_->close(session_.issuer());
    static_cast<void>(ignored);
  }
}

void VolumeSession::close() {
  if (writable_) {
    const auto closed = volume_->close(session_.issuer());
    volume_.reset();
    if (!closed) throw failure_of(closed.error(), session_.path());
  }
  volume_.reset();
}

std::string describe_recovery(const handback::RecoveryReport& report) {
  if (report.clean) return "it had been closed; nothing to recover";
  std::string text = fmt::format("recovered: {} with {} replayed",
                                 count_of(report.records_replayed, "log record", "log records"),
                                 count_of(report.changes_replayed, "change", "changes"));
  if (report.torn_record_dropped) text += "; an unfinished record at the log's end dropped";
  if (report.backup_superblock_used) text += "; the backup superblock was used";
  return text;
}

}  // namespace tool
