// Appends to a file of a volume, through the library.
#pragma once

#include <memory>
#include <string>

#include "common/volume_session.h"
#include "handback/bench/append_load.h"
#include "handback/bench/bench_files.h"

namespace tool {

class AppendVolume final : public AppendTarget {
 public:
  // A path that does not exist is made, as a host file with room for `bytes_max`, and removed at
  // the end. A blank block device is formatted. On a volume that is there already, nothing changes
  // but for files of a run, which are removed. Throws Failure.
  AppendVolume(const std::string& path, std::uint64_t bytes_max, const SessionOptions& options);
  ~AppendVolume() override;

  [[nodiscard]] RunResult append(const AppendLoad& load) override;
  void choose_way(const AppendLoad& /*trial*/) override {}
  [[nodiscard]] std::string name() const override { return "handback"; }
  [[nodiscard]] std::string place() const override { return place_; }
  [[nodiscard]] std::string way(unsigned /*inflight*/) const override { return "one file, APPEND"; }

  // "block-device write back", "host-file ext4": which section of a page this is about.
  [[nodiscard]] const std::string& kind() const { return kind_; }

 private:
  std::string kind_;
  std::string place_;
  BenchFiles files_;
  std::unique_ptr<VolumeSession> session_;
  std::string file_path_;
};

}  // namespace tool
