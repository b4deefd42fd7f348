// Requests without a device below, through all layers or a part of them: a number of them is kept
// in flight, and in each round all of them end and are started anew.
#pragma once

#include <handback/volume.h>
#include <cstdint>
#include <memory>
#include <string_view>

#include "handback/bench/quiet_device.h"

namespace tool {

enum class LayerPath : std::uint8_t {
  file_write,  // A volume's file: every layer.
  file_read,
  device_write,  // The null device as a file: without a volume.
  device_read,
  queue,  // Bios, straight to the null device's queue.
};
inline constexpr LayerPath layer_paths[] = {LayerPath::file_write, LayerPath::file_read,
                                            LayerPath::device_write, LayerPath::device_read,
                                            LayerPath::queue};

[[nodiscard]] std::string_view to_string(LayerPath path) noexcept;

// One path at one depth, with what is below it.
class LayerLoad {
 public:
  LayerLoad() = default;
  LayerLoad(const LayerLoad&) = delete;
  LayerLoad& operator=(const LayerLoad&) = delete;
  virtual ~LayerLoad() = default;

  // Ends and starts as many requests as are in flight, `rounds` times. Throws Failure.
  void run(std::uint64_t rounds);

 protected:
  virtual void run_rounds(std::uint64_t rounds) noexcept = 0;
  // Of a request that failed, or that did not end in its round.
  bool failed_ = false;
};

// The devices and the file, which the loads share. For the thread that made it.
class LayerStack {
 public:
  // Throws Failure.
  explicit LayerStack(std::uint64_t file_bytes);
  LayerStack(const LayerStack&) = delete;
  LayerStack& operator=(const LayerStack&) = delete;
  ~LayerStack();

  // Its requests are in flight until it is destroyed. Throws Failure.
  [[nodiscard]] std::unique_ptr<LayerLoad> make_load(LayerPath path, unsigned depth);

 private:
  std::uint64_t file_bytes_;
  QuietDevice quiet_;
  std::unique_ptr<handback::BlockDevice> null_;
  std::unique_ptr<handback::Issuer> volume_issuer_;  // Of the volume's device alone.
  std::unique_ptr<handback::Issuer> null_issuer_;    // Of the null device alone.
  std::unique_ptr<handback::Volume> volume_;
  std::unique_ptr<handback::VolumeFile> file_;
  std::unique_ptr<handback::File> device_file_;
};

}  // namespace tool
