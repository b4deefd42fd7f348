#include "hostile/image_device.h"

#include <algorithm>
#include <cstring>

#include "hostile/format_fields.h"

namespace hostile {
namespace {

class ImageQueue final : public handback::BlockQueue {
 public:
  explicit ImageQueue(ImageDevice& device) noexcept : device_(device) {}

  void submit(handback::Bio* chain) noexcept override {
    while (chain != nullptr) {
      handback::Bio& bio = *chain;
      chain = bio.next;
      bio.next = nullptr;
      bio.result = device_.carry_out(bio);
      *last_ = &bio;
      last_ = &bio.next;
    }
  }
  void kick() noexcept override {}
  unsigned poll() noexcept override {
    handback::Bio* chain = done_;
    done_ = nullptr;
    last_ = &done_;
    unsigned ended = 0;
    while (chain != nullptr) {
      handback::Bio& bio = *chain;
      chain = bio.next;
      bio.next = nullptr;
      bio.end_io(bio);
      ++ended;
    }
    return ended;
  }
  // Everything has ended before anybody could sleep.
  void wait(std::int64_t /*timeout_ns*/) noexcept override {}
  [[nodiscard]] int wait_fd() noexcept override { return -1; }

 private:
  ImageDevice& device_;
  handback::Bio* done_ = nullptr;
  handback::Bio** last_ = &done_;
};

}  // namespace

ImageDevice::ImageDevice(std::span<const std::byte> base) {
  geometry_.size_bytes = base.size();
  geometry_.logical_block_bytes = 512;
  geometry_.memory_alignment_bytes = 1;
  load(base);
}

handback::Result<std::unique_ptr<handback::BlockQueue>> ImageDevice::open_queue(int /*wake_fd*/) {
  return std::make_unique<ImageQueue>(*this);
}

void ImageDevice::load(std::span<const std::byte> base) {
  base_.assign(base.begin(), base.end());
  now_ = base_;
  touched_.assign(base.size() / block_bytes, false);
  touched_list_.clear();
}

void ImageDevice::restore() {
  for (const std::uint64_t block : touched_list_) {
    std::memcpy(now_.data() + block * block_bytes, base_.data() + block * block_bytes, block_bytes);
    touched_[block] = false;
  }
  touched_list_.clear();
}

void ImageDevice::remember(std::uint64_t at, std::uint64_t length) {
  for (std::uint64_t block = at / block_bytes; block * block_bytes < at + length; ++block) {
    if (touched_[block]) continue;
    touched_[block] = true;
    touched_list_.push_back(block);
  }
}

std::span<std::byte> ImageDevice::change(std::uint64_t at, std::uint64_t length) {
  remember(at, length);
  return std::span<std::byte>(now_).subspan(at, length);
}

void ImageDevice::seal(std::uint64_t block) {
  remember(block * block_bytes, block_bytes);
  hostile::seal(now_, block);
}

handback::IoResult ImageDevice::carry_out(handback::Bio& bio) noexcept {
  if (bio.op == handback::BioOp::flush) return handback::IoResult::success(0);
  if (bio.length > now_.size() || bio.addr > now_.size() - bio.length)
    return handback::IoResult::failure(handback::Errc::too_large);
  if (bio.op == handback::BioOp::write) {
    ++counters_.writes;
    remember(bio.addr, bio.length);
  } else {
    counters_.blocks_read += (bio.length + block_bytes - 1) / block_bytes;
    if (counters_.writes != 0) ++counters_.reads_after_a_write;
  }
  std::uint64_t arrives = bio.length;
  if (bio.op == handback::BioOp::write && writes_left_ != never) {
    if (writes_left_ == 0) {
      arrives = std::min<std::uint64_t>(torn_bytes_, arrives);
      torn_bytes_ = 0;
    } else {
      --writes_left_;
    }
  }
  std::byte* at = now_.data() + bio.addr;
  for (unsigned i = 0; i < bio.segment_count; ++i) {
    const iovec& segment = bio.segments[i];
    if (bio.op == handback::BioOp::read) {
      std::memcpy(segment.iov_base, at, segment.iov_len);
    } else {
      const std::uint64_t length = std::min<std::uint64_t>(arrives, segment.iov_len);
      std::memcpy(at, segment.iov_base, length);
      arrives -= length;
    }
    at += segment.iov_len;
  }
  return handback::IoResult::success(bio.length);
}

}  // namespace hostile
