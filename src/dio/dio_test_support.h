// A file whose mappings a test writes down, over a device it sees into, for tests of the engine.
#pragma once

#include <handback/iomap.h>
#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/align.h"
#include "base/context.h"
#include "issuer/fake_device_test_support.h"
#include "issuer/issuer_test_support.h"

namespace handback {

inline bool operator==(const IomapRequest& a, const IomapRequest& b) {
  return a.offset == b.offset && a.length == b.length && a.write == b.write && a.nowait == b.nowait;
}
inline bool operator==(const DioEnd& a, const DioEnd& b) {
  return a.offset == b.offset && a.bytes == b.bytes && a.result == b.result &&
         a.unwritten == b.unwritten && a.needs_sync == b.needs_sync;
}
inline void PrintTo(const IomapRequest& request, std::ostream* out) {
  *out << (request.write ? "write " : "read ") << request.offset << '+' << request.length
       << (request.nowait ? " nowait" : "");
}
inline void PrintTo(const DioEnd& end, std::ostream* out) {
  *out << end.offset << '+' << end.bytes << ' ' << describe(end.result)
       << (end.unwritten ? " unwritten" : "") << (end.needs_sync ? " needs_sync" : "");
}
inline void PrintTo(const RouteDecision& decision, std::ostream* out) {
  *out << to_string(decision.route) << '/' << to_string(decision.reason);
}

namespace testing {

inline constexpr RouteDecision overwrite_inline{Route::inline_, RouteReason::pure_overwrite};
inline constexpr RouteDecision failed_in_submit{Route::submit, RouteReason::error};

// One fs block of a file.
struct FakeBlock {
  IomapType type = IomapType::hole;
  std::uint64_t addr = 0;
  bool new_extent = false;
  bool shared = false;
  bool dirty = false;
};

// Maps block by block what the test wrote into `blocks`; beyond them are holes. Its end_io makes
// written blocks `mapped` and the file longer. Unless the test says otherwise, every outcome is
// what it was given.
class FakeMappedFile final : public File, private IomapOps, private DioOps {
 public:
  explicit FakeMappedFile(BlockDevice& device, std::uint32_t fs_block_bytes = 4096,
                          const HandlerContract& contract = {.name = "fake file"})
      : DioOps(contract), device_(device), fs_block_(fs_block_bytes) {}

  // What the engine asked and said, with where it ran.
  struct Call {
    DioEnd end;
    Context context = Context::task;
    std::thread::id thread;
  };

  std::vector<FakeBlock> blocks;
  std::atomic<std::uint64_t> size{0};
  bool ordered = true;    // Overlapping requests stand in line.
  bool in_order = false;  // DioRequest::publish_in_order.
  std::atomic<bool> gap_is_unprepared{false};
  bool has_cache = false;  // A write needs a hold.
  void* hold = nullptr;    // DioRequest::hold.
  bool recording = true;   // Off: no call allocates.
  std::vector<IomapRequest> begun;
  std::vector<Call> ended;
  std::vector<Call> synced;

  std::function<IoResult(const IomapRequest&)> on_begin;  // A failure ends the request.
  std::function<Outcome(Kiocb&, const DioEnd&)> on_end_io;
  std::function<Outcome(Kiocb&, const DioEnd&)> on_write_sync;
  DioInflight inflight;

  // The blocks of [offset, offset + length) lie at `addr` and after.
  void map(std::uint64_t offset, std::uint64_t length, std::uint64_t addr, FakeBlock like) {
    HB_ASSERT(is_aligned(offset | length, fs_block_), "a test maps whole blocks");
    const std::uint64_t end = (offset + length) / fs_block_;
    if (blocks.size() < end) blocks.resize(end);
    for (std::uint64_t block = offset / fs_block_; block < end; ++block, addr += fs_block_) {
      like.addr = addr;
      blocks[block] = like;
    }
  }
  void map(std::uint64_t offset, std::uint64_t length, std::uint64_t addr,
           IomapType type = IomapType::mapped) {
    map(offset, length, addr, FakeBlock{.type = type});
  }

  Outcome read_iter(Kiocb& kiocb, IovView to) noexcept override {
    return dio_rw(kiocb, to, request());
  }
  Outcome write_iter(Kiocb& kiocb, IovView from) noexcept override {
    return dio_rw(kiocb, from, request());
  }

 private:
  [[nodiscard]] DioRequest request() noexcept {
    return {.device = &device_,
            .iomap_ops = this,
            .dio_ops = this,
            .inflight = ordered ? &inflight : nullptr,
            .publish_in_order = in_order,
            .hold = hold};
  }

  IoResult iomap_begin(Kiocb& /*kiocb*/, const IomapRequest& asked,
                       Iomap* iomap) noexcept override {
    const std::lock_guard guard(mutex_);
    if (recording) begun.push_back(asked);
    if (on_begin) {
      if (const IoResult said = on_begin(asked); !said.ok()) return said;
    }
    const std::uint64_t first = asked.offset / fs_block_;
    const FakeBlock block = block_at(first);
    std::uint64_t count = 1;
    while ((first + count) * fs_block_ < asked.offset + asked.length &&
           continues(block, block_at(first + count), count)) {
      ++count;
    }
    *iomap = Iomap{.offset = first * fs_block_,
                   .length = count * fs_block_,
                   .addr = block.addr,
                   .type = block.type,
                   .new_extent = block.new_extent,
                   .shared = block.shared,
                   .dirty = block.dirty};
    return {};
  }
  [[nodiscard]] std::uint32_t fs_block_bytes() const noexcept override { return fs_block_; }

  Outcome end_io(Kiocb& kiocb, const DioEnd& end) noexcept override {
    const std::lock_guard guard(mutex_);
    if (recording) ended.push_back(Call{end, current_context(), std::this_thread::get_id()});
    if (kiocb.is_write() && end.result.ok()) {
      if (end.unwritten) convert(end);
      std::uint64_t now = size.load();
      while (now < end.offset + end.bytes &&
             !size.compare_exchange_weak(now, end.offset + end.bytes)) {
      }
    }
    return on_end_io ? on_end_io(kiocb, end) : Outcome(end.result);
  }
  Outcome write_sync(Kiocb& kiocb, const DioEnd& end) noexcept override {
    const std::lock_guard guard(mutex_);
    if (recording) synced.push_back(Call{end, current_context(), std::this_thread::get_id()});
    return on_write_sync ? on_write_sync(kiocb, end) : Outcome(end.result);
  }
  [[nodiscard]] bool is_extending(std::uint64_t end_offset) const noexcept override {
    return end_offset > size.load();
  }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return size.load(); }
  [[nodiscard]] bool gap_unprepared() const noexcept override { return gap_is_unprepared; }
  [[nodiscard]] bool must_hold() const noexcept override { return has_cache; }

  [[nodiscard]] FakeBlock block_at(std::uint64_t block) const {
    return block < blocks.size() ? blocks[block] : FakeBlock{};
  }
  [[nodiscard]] bool continues(const FakeBlock& first, const FakeBlock& later,
                               std::uint64_t count) const {
    return later.type == first.type && later.new_extent == first.new_extent &&
           later.shared == first.shared && later.dirty == first.dirty &&
           (first.type == IomapType::hole || later.addr == first.addr + count * fs_block_);
  }
  void convert(const DioEnd& end) {
    const std::uint64_t last = (end.offset + end.bytes + fs_block_ - 1) / fs_block_;
    for (std::uint64_t block = end.offset / fs_block_; block < last; ++block) {
      blocks[block].type = IomapType::mapped;
      blocks[block].new_extent = false;
    }
  }

  BlockDevice& device_;
  std::uint32_t fs_block_;
  std::mutex mutex_;
};

// Requests that take one line: how they were routed is kept.
class DioRig {
 public:
  explicit DioRig(BlockDevice& on, std::uint32_t fs_block_bytes = 4096,
                  const HandlerContract& contract = {.name = "fake file"})
      : file(on, fs_block_bytes, contract) {}

  IoResult write(std::uint64_t offset, std::span<const std::byte> from,
                 KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    aiocb.prepare_write(file, offset, from, flags);
    return run(aiocb);
  }
  IoResult read(std::uint64_t offset, std::span<std::byte> to,
                KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    aiocb.prepare_read(file, offset, to);
    aiocb.ki_flags |= flags;
    return run(aiocb);
  }
  IoResult run(Aiocb& aiocb) {
    const IoResult result = issuer->run(aiocb);
    routed = {aiocb.route, aiocb.route_reason};
    return result;
  }
  // As a caller does that has no Aiocb: ki_complete is null.
  IoResult run_sync(Kiocb& kiocb, File& of, std::uint64_t offset, iovec segment, KiocbFlags flags) {
    kiocb.ki_filp = &of;
    kiocb.ki_pos = offset;
    kiocb.ki_flags = KiocbFlags::direct | flags;
    kiocb.issuer = issuer.get();
    const IovView iov{&segment, 1};
    const Outcome outcome = kiocb.is_write() ? of.write_iter(kiocb, iov) : of.read_iter(kiocb, iov);
    routed = {kiocb.route, kiocb.route_reason};
    return outcome.result();
  }
  IoResult write_sync_caller(std::uint64_t offset, std::span<std::byte> from,
                             KiocbFlags flags = KiocbFlags::none) {
    Kiocb kiocb;
    return run_sync(kiocb, file, offset, iovec{from.data(), from.size()},
                    flags | KiocbFlags::write);
  }
  IoResult read_sync_caller(std::uint64_t offset, std::span<std::byte> to) {
    Kiocb kiocb;
    return run_sync(kiocb, file, offset, iovec{to.data(), to.size()}, KiocbFlags::none);
  }

  std::unique_ptr<Issuer> issuer = make_issuer();
  RouteDecision routed;
  FakeMappedFile file;
};

// The same over a device whose bytes and bios are in sight. 512-byte logical blocks unless asked
// otherwise.
struct FakeDeviceHolder {
  FakeDevice device;
};
class FakeRig : public FakeDeviceHolder, public DioRig {
 public:
  explicit FakeRig(const Geometry& geometry = FakeDevice::default_geometry(),
                   std::uint32_t fs_block_bytes = 4096,
                   const HandlerContract& contract = {.name = "fake file"})
      : FakeDeviceHolder{FakeDevice(geometry)},
        DioRig(FakeDeviceHolder::device, fs_block_bytes, contract) {}
};

inline AlignedBuffer random_buffer(std::size_t bytes, std::uint64_t seed) {
  AlignedBuffer buffer(bytes);
  fill_random(buffer.span(), seed);
  return buffer;
}

// For many bytes: says where they differ first, instead of printing them all.
inline ::testing::AssertionResult same_bytes(std::span<const std::byte> got,
                                             std::span<const std::byte> expected) {
  if (got.size() != expected.size())
    return ::testing::AssertionFailure() << got.size() << " bytes, not " << expected.size();
  if (got.empty() || std::memcmp(got.data(), expected.data(), got.size()) == 0)
    return ::testing::AssertionSuccess();
  const auto at = std::mismatch(got.begin(), got.end(), expected.begin()).first - got.begin();
  return ::testing::AssertionFailure() << "the first difference is at byte " << at;
}

inline std::vector<std::byte> copy_of(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}
inline std::vector<std::byte> zeros(std::size_t count) {
  return std::vector<std::byte>(count);
}

}  // namespace testing
}  // namespace handback
