// An open volume with all that it needs: the device, this thread's issuer, the volume itself.
#pragma once

#include <handback/host_device.h>
#include <handback/issuer.h>
#include <handback/volume.h>
#include <memory>
#include <string>

#include "common/failure.h"

namespace tool {

struct SessionOptions {
  bool writable = false;
  handback::HostEngine engine = handback::HostEngine::automatic;
  bool quiet = false;  // Says nothing of recovery.
  std::uint32_t commit_interval_ms = handback::VolumeOptions{}.commit_interval_ms;
};

// A device and an issuer attached to it: what format and check need, and what a volume is opened
// on.
class DeviceSession {
 public:
  // `phase` says what a path that can hold no volume means: no volume, or a request that failed.
  // Throws Failure.
  DeviceSession(const std::string& path, const SessionOptions& options,
                Phase phase = Phase::opening);

  [[nodiscard]] handback::BlockDevice& device() const { return *device_; }
  [[nodiscard]] handback::Issuer& issuer() const { return *issuer_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  // The issuer's queue ends before the device does.
  std::unique_ptr<handback::BlockDevice> device_;
  std::unique_ptr<handback::Issuer> issuer_;
};

class VolumeSession {
 public:
  // Says on standard error what recovery had to do, if anything. Throws Failure.
  VolumeSession(const std::string& path, const SessionOptions& options);
  VolumeSession(const VolumeSession&) = delete;
  VolumeSession& operator=(const VolumeSession&) = delete;
  // After a failure: commits what was done before it. Trouble in doing so is not reported again.
  ~VolumeSession();

  [[nodiscard]] handback::Volume& volume() const { return *volume_; }
  [[nodiscard]] handback::Issuer& issuer() const { return session_.issuer(); }
  [[nodiscard]] handback::BlockDevice& device() const { return session_.device(); }
  [[nodiscard]] const std::string& path() const { return session_.path(); }

  // Commits and closes; nothing is promised to the user before it returned. Throws Failure.
  void close();

 private:
  DeviceSession session_;
  std::unique_ptr<handback::Volume> volume_;
  bool writable_;
};

// "recovered: 3 log records with 40 changes replayed; a torn record at the end dropped"
[[nodiscard]] std::string describe_recovery(const handback::RecoveryReport& report);

}  // namespace tool
