// A whole device as a file.
#include <handback/memory_device.h>

#include "block/fault_device.h"
#include "block/limit_device.h"
#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

constexpr std::uint64_t device_bytes = 64U << 10;

class DeviceFileTest : public ::testing::Test {
 protected:
  void open(BlockDevice& device) { file_ = make_device_file(device); }
  void open_memory(const MemoryDeviceOptions& options = {.size_bytes = device_bytes,
                                                         .logical_block_bytes = 512}) {
    device_ = make_memory_device(options);
    open(*device_);
  }
  IoResult write(std::uint64_t offset, std::span<const std::byte> from,
                 KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    aiocb.prepare_write(*file_, offset, from, flags);
    return run(aiocb);
  }
  IoResult read(std::uint64_t offset, std::span<std::byte> to) {
    Aiocb aiocb;
    aiocb.prepare_read(*file_, offset, to);
    return run(aiocb);
  }
  IoResult run(Aiocb& aiocb) {
    const IoResult result = issuer_->run(aiocb);
    routed_ = {aiocb.route, aiocb.route_reason};
    return result;
  }

  std::unique_ptr<BlockDevice> device_;
  std::unique_ptr<Issuer> issuer_ = make_issuer();
  std::unique_ptr<File> file_;
  RouteDecision routed_;
};

const IoResult beyond_the_end = IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
const RouteDecision read_inline{Route::inline_, RouteReason::read_ok};
const RouteDecision ended_in_submit{Route::submit, RouteReason::submit_ended};

TEST_F(DeviceFileTest, ReadsBackWhatWasWrittenAndNothingElseChanged) {
  open_memory();
  const AlignedBuffer data = random_buffer(8192, 1);
  EXPECT_EQ(write(512, data.span().first(7680)), IoResult::success(7680));
  EXPECT_EQ(routed_, overwrite_inline);
  AlignedBuffer whole(device_bytes);
  EXPECT_EQ(read(0, whole.span()), IoResult::success(device_bytes));
  EXPECT_EQ(routed_, read_inline);
  std::vector<std::byte> expected(device_bytes);
  std::memcpy(expected.data() + 512, data.data(), 7680);
  EXPECT_TRUE(same_bytes(copy_of(whole.span()), expected));
}

TEST_F(DeviceFileTest, ScattersAndGathersMoreSegmentsThanABioHolds) {
  open_memory();
  const AlignedBuffer data = random_buffer(16384, 2);
  std::vector<iovec> out;
  for (std::size_t at = 0; at < 16384; at += 1024)
    out.push_back({data.data() + at, 1024});
  Aiocb aiocb;
  aiocb.prepare_writev(*file_, 4096, IovView{out.data(), 16});
  EXPECT_EQ(run(aiocb), IoResult::success(16384));

  AlignedBuffer back(16384);
  std::vector<iovec> in;
  for (std::size_t at = 16384; at != 0; at -= 512)
    in.push_back({back.data() + at - 512, 512});
  aiocb.prepare_readv(*file_, 4096, IovView{in.data(), 32});
  EXPECT_EQ(run(aiocb), IoResult::success(16384));
  for (std::size_t at = 0; at < 16384; at += 512) {
    EXPECT_EQ(std::memcmp(back.data() + 16384 - 512 - at, data.data() + at, 512), 0) << at;
  }
}

TEST_F(DeviceFileTest, ReadsEndWithTheDevice) {
  open_memory();
  const AlignedBuffer data = random_buffer(4096, 3);
  EXPECT_EQ(write(device_bytes - 4096, data.span()), IoResult::success(4096));
  AlignedBuffer buffer = random_buffer(8192, 4);
  const std::vector<std::byte> before = copy_of(buffer.span());
  EXPECT_EQ(read(device_bytes - 2048, buffer.span()), IoResult::success(2048));
  std::vector<std::byte> expected = before;
  std::memcpy(expected.data(), data.data() + 2048, 2048);
  EXPECT_TRUE(same_bytes(copy_of(buffer.span()), expected));
  EXPECT_EQ(read(device_bytes, buffer.span()), IoResult::success(0));
  EXPECT_EQ(routed_, ended_in_submit);
  EXPECT_EQ(read(std::uint64_t{1} << 50, buffer.span()), IoResult::success(0));
  EXPECT_TRUE(same_bytes(copy_of(buffer.span()), expected));
}

TEST_F(DeviceFileTest, RefusesAWriteThatEndsBeyondTheDeviceBeforeAnyByteIsWritten) {
  open_memory();
  const AlignedBuffer data = random_buffer(8192, 5);
  EXPECT_EQ(write(device_bytes - 4096, data.span()), beyond_the_end);
  EXPECT_EQ(routed_, failed_in_submit);
  EXPECT_EQ(write(device_bytes, data.span()), beyond_the_end);
  AlignedBuffer tail(4096);
  EXPECT_EQ(read(device_bytes - 4096, tail.span()), IoResult::success(4096));
  EXPECT_TRUE(same_bytes(copy_of(tail.span()), zeros(4096)));
}

TEST_F(DeviceFileTest, HasNoEndToAppendAt) {
  open_memory();
  const AlignedBuffer data(4096);
  EXPECT_EQ(write(0, data.span(), KiocbFlags::append), IoResult::failure(Errc::no_space));
}

TEST_F(DeviceFileTest, WantsTheWriteFlagToMatchTheCall) {
  open_memory();
  AlignedBuffer buffer(4096);
  const iovec segment{buffer.data(), 4096};
  Kiocb kiocb;
  kiocb.issuer = issuer_.get();
  kiocb.ki_flags = KiocbFlags::direct;
  const IoResult mismatch = IoResult::failure(Errc::invalid, IoDetail::flag_direction);
  EXPECT_EQ(file_->write_iter(kiocb, IovView{&segment, 1}).result(), mismatch);
  kiocb.ki_flags = KiocbFlags::direct | KiocbFlags::write;
  EXPECT_EQ(file_->read_iter(kiocb, IovView{&segment, 1}).result(), mismatch);
}

TEST_F(DeviceFileTest, RefusesWritesToAReadOnlyDevice) {
  const auto memory = make_memory_device({.size_bytes = device_bytes});
  Geometry geometry = memory->geometry();
  geometry.read_only = true;
  LimitDevice limited(*memory, geometry);
  open(limited);
  AlignedBuffer buffer(4096);
  EXPECT_EQ(write(0, buffer.span()), IoResult::failure(Errc::read_only));
  EXPECT_EQ(read(0, buffer.span()), IoResult::success(4096));
  issuer_->detach(limited);
}

TEST_F(DeviceFileTest, OfTheNullDeviceTakesEverythingAndLeavesBuffersAlone) {
  device_ = make_null_device({.size_bytes = device_bytes});
  open(*device_);
  AlignedBuffer buffer = random_buffer(8192, 6);
  const std::vector<std::byte> before = copy_of(buffer.span());
  EXPECT_EQ(write(0, buffer.span()), IoResult::success(8192));
  EXPECT_EQ(routed_, overwrite_inline);
  EXPECT_EQ(read(4096, buffer.span()), IoResult::success(8192));
  EXPECT_EQ(routed_, read_inline);
  EXPECT_TRUE(same_bytes(copy_of(buffer.span()), before));
}

TEST_F(DeviceFileTest, HasNoInodeNumber) {
  open_memory();
  EXPECT_EQ(file_->file_id(), 0U);
}

// --- durability ---

struct DeviceSync {
  bool volatile_cache;
  bool fua;
  KiocbFlags flag;
  FaultCounts counts;
  RouteDecision routed;
};

TEST_F(DeviceFileTest, MakesADsyncWriteDurableWithTheLeastThatTheDeviceNeeds) {
  const RouteDecision handed_back{Route::issuer, RouteReason::dsync};
  const DeviceSync table[] = {
      {false, false, KiocbFlags::dsync, {.writes = 1}, overwrite_inline},
      {true, true, KiocbFlags::dsync, {.writes = 1, .fua_writes = 1}, overwrite_inline},
      {true, false, KiocbFlags::dsync, {.writes = 1, .flushes = 1}, handed_back},
      {true, true, KiocbFlags::none, {.writes = 1}, overwrite_inline},
      {true, false, KiocbFlags::none, {.writes = 1}, overwrite_inline},
  };
  const AlignedBuffer data(4096);
  for (const DeviceSync& row : table) {
    SCOPED_TRACE(::testing::Message() << row.volatile_cache << row.fua << to_string(row.flag));
    const auto memory = make_memory_device(
        {.size_bytes = device_bytes, .volatile_cache = row.volatile_cache, .fua = row.fua});
    FaultDevice counting(*memory);
    open(counting);
    EXPECT_EQ(write(0, data.span(), row.flag), IoResult::success(4096));
    EXPECT_EQ(routed_, row.routed);
    EXPECT_EQ(counting.counts(), row.counts);
    issuer_->detach(counting);
  }
}

TEST_F(DeviceFileTest, FailsADsyncWriteWhoseFlushFails) {
  const auto memory = make_memory_device({.size_bytes = device_bytes, .volatile_cache = true});
  FaultDevice faulty(*memory);
  open(faulty);
  faulty.fail(BioOp::flush, 1, IoResult::host_failure(EIO));
  const AlignedBuffer data(4096);
  EXPECT_EQ(write(0, data.span(), KiocbFlags::dsync), IoResult::host_failure(EIO));
  EXPECT_EQ(routed_, (RouteDecision{Route::issuer, RouteReason::dsync}));
  EXPECT_EQ(write(0, data.span(), KiocbFlags::dsync), IoResult::success(4096));
  EXPECT_EQ(faulty.counts(), (FaultCounts{.writes = 2, .flushes = 2, .failed = 1}));
  issuer_->detach(faulty);
}

TEST_F(DeviceFileTest, DoesNotFlushForAWriteThatFailed) {
  const auto memory = make_memory_device({.size_bytes = device_bytes, .volatile_cache = true});
  FaultDevice faulty(*memory);
  open(faulty);
  faulty.fail(BioOp::write, 1, IoResult::host_failure(EIO));
  const AlignedBuffer data(4096);
  EXPECT_EQ(write(0, data.span(), KiocbFlags::dsync), IoResult::host_failure(EIO));
  EXPECT_EQ(routed_, (RouteDecision{Route::issuer, RouteReason::error}));
  EXPECT_EQ(faulty.counts(), (FaultCounts{.writes = 1, .failed = 1}));
  issuer_->detach(faulty);
}

TEST_F(DeviceFileTest, FlushesForASynchronousCallerToo) {
  const auto memory = make_memory_device({.size_bytes = device_bytes, .volatile_cache = true});
  FaultDevice counting(*memory);
  DioRig rig(counting);
  const auto file = make_device_file(counting);
  AlignedBuffer data(4096);
  Kiocb kiocb;
  EXPECT_EQ(rig.run_sync(kiocb, *file, 0, iovec{data.data(), 4096},
                         KiocbFlags::write | KiocbFlags::dsync),
            IoResult::success(4096));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::waiter, RouteReason::sync_caller}));
  EXPECT_EQ(counting.counts(), (FaultCounts{.writes = 1, .flushes = 1}));
}

TEST_F(DeviceFileTest, FailsRequestsToADeviceThatCannotBeOpened) {
  FakeDevice broken;
  broken.open_error = Error(Errc::io, "no");
  open(broken);
  AlignedBuffer buffer(4096);
  EXPECT_EQ(read(0, buffer.span()), IoResult::host_failure(EIO));
  EXPECT_EQ(routed_, failed_in_submit);
  EXPECT_EQ(write(0, buffer.span(), KiocbFlags::dsync), IoResult::host_failure(EIO));
}

}  // namespace
}  // namespace handback::testing
