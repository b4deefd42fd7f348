// A device over an image in memory that goes back to its first state without being copied, and
// that counts what is asked of it.
#pragma once

#include <handback/block_device.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hostile {

// Thread class: one thread, all of it.
class ImageDevice final : public handback::BlockDevice {
 public:
  // `base` is copied. A multiple of 4096 bytes.
  explicit ImageDevice(std::span<const std::byte> base);

  [[nodiscard]] const handback::Geometry& geometry() const noexcept override { return geometry_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] handback::Result<std::unique_ptr<handback::BlockQueue>> open_queue(
      int wake_fd) override;

  // To damage [at, at + length) of the image: remembers what was there.
  std::span<std::byte> change(std::uint64_t at, std::uint64_t length);
  // Makes the checksum fit of the structure whose header lies in `block` (format_fields.h).
  void seal(std::uint64_t block);
  // The image as it is.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return now_; }
  // From now on another image of the same size. (The device's name stays, as do queues on it.)
  void load(std::span<const std::byte> base);
  // Undoes all damage and all writes since the last load.
  void restore();

  struct Counters {
    std::uint64_t blocks_read = 0;
    std::uint64_t writes = 0;
    std::uint64_t reads_after_a_write = 0;
  };
  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }
  void reset_counters() noexcept { counters_ = {}; }

  // The power goes in the middle of the write after the next `writes`, of which the first
  // `torn_bytes` arrive. What comes later is lost, and called good.
  void cut_after(std::uint64_t writes, std::uint64_t torn_bytes) noexcept {
    writes_left_ = writes;
    torn_bytes_ = torn_bytes;
  }
  void power_on() noexcept { writes_left_ = never; }

  handback::IoResult carry_out(handback::Bio& bio) noexcept;

 private:
  void remember(std::uint64_t at, std::uint64_t length);

  handback::Geometry geometry_;
  std::string name_ = "image";
  std::vector<std::byte> base_;
  std::vector<std::byte> now_;
  std::vector<bool> touched_;
  std::vector<std::uint64_t> touched_list_;  // Blocks.
  Counters counters_;
  static constexpr std::uint64_t never = ~std::uint64_t{0};
  std::uint64_t writes_left_ = never;
  std::uint64_t torn_bytes_ = 0;
};

}  // namespace hostile
