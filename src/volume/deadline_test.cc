// A volume on a device that stops answering: every call ends, and nothing is trusted afterwards.
#include <handback/deadline_device.h>

#include "block/fake_clock.h"
#include "issuer/fake_device_test_support.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

const IoResult timed_out = IoResult::failure(Errc::timed_out, IoDetail::missed_deadline);

struct DeadlineCase {
  const char* name;
  bool volatile_cache;
  bool fua;
};

class VolumeDeadline : public ::testing::TestWithParam<DeadlineCase> {
 protected:
  VolumeDeadline() : below(geometry()) {
    auto device = make_deadline_device(below, clock.options());
    fixture = std::make_unique<VolumeFixture>(std::move(device));
    file = fixture->create("/file");
    EXPECT_EQ(fixture->write(*file, 0, data.span()), IoResult::success(8192));
    must(fixture->volume->sync(*fixture->issuer));
    // Each look at the clock is one tick later: nobody sleeps.
    clock.step_ns = fake_tick_ns;
  }
  ~VolumeDeadline() override {
    file.reset();
    fixture->volume.reset();
    // After all that the volume had: what the device still does with the memory, sanitizers see.
    while (below.held_count() != 0)
      below.end_here();
    EXPECT_EQ(overdue(*fixture->device), 0U);
  }

  static Geometry geometry() {
    Geometry geometry;
    geometry.size_bytes = 8U << 20;
    geometry.memory_alignment_bytes = 1;
    geometry.volatile_cache = GetParam().volatile_cache;
    geometry.fua = GetParam().fua;
    return geometry;
  }

  void stop_answering() { below.hold(true); }

  void expect_poisoned() {
    EXPECT_EQ(fixture->write(*file, 0, data.span()), IoResult::failure(Errc::poisoned));
    EXPECT_EQ(fixture->write(*file, 0, data.span(), KiocbFlags::dsync),
              IoResult::failure(Errc::poisoned));
    EXPECT_TRUE(is_error(file->fsync(*fixture->issuer), Errc::poisoned));
    EXPECT_TRUE(is_error(file->truncate(*fixture->issuer, 0), Errc::poisoned));
    EXPECT_TRUE(is_error(fixture->volume->sync(*fixture->issuer), Errc::poisoned));
    EXPECT_TRUE(is_error(fixture->volume->mkdir("/d"), Errc::poisoned));
    EXPECT_EQ(fixture->read(*file, 0, back.span()),
              IoResult::failure(Errc::poisoned, IoDetail::missed_deadline));
    file.reset();
    EXPECT_TRUE(is_error(fixture->volume->close(*fixture->issuer), Errc::poisoned));
  }

  // The device may still write here until it has answered.
  AlignedBuffer back{4096};
  const AlignedBuffer data = pattern(8192, 1);
  FakeClock clock;
  FakeDevice below;
  std::unique_ptr<VolumeFixture> fixture;
  std::unique_ptr<VolumeFile> file;
};

TEST_P(VolumeDeadline, AWriteThatIsNotAnsweredPoisonsTheVolume) {
  stop_answering();
  EXPECT_EQ(fixture->write(*file, 0, data.span()), timed_out);
  EXPECT_EQ(fixture->last_route, Route::issuer);
  EXPECT_EQ(fixture->last_reason, RouteReason::error);
  expect_poisoned();
}

TEST_P(VolumeDeadline, AReadThatIsNotAnsweredFailsAlone) {
  stop_answering();
  EXPECT_EQ(fixture->read(*file, 0, back.span()), timed_out);
  EXPECT_EQ(fixture->last_route, Route::issuer);
  EXPECT_EQ(fixture->last_reason, RouteReason::error);
  // The device is poisoned, and the next write finds out.
  EXPECT_EQ(fixture->write(*file, 0, data.span()),
            IoResult::failure(Errc::poisoned, IoDetail::missed_deadline));
  expect_poisoned();
}

TEST_P(VolumeDeadline, ADsyncAppendEnds) {
  stop_answering();
  EXPECT_EQ(fixture->write(*file, 8192, data.span(), KiocbFlags::dsync), timed_out);
  expect_poisoned();
}

TEST_P(VolumeDeadline, AnFsyncEnds) {
  must(file->set_mtime(7));
  stop_answering();
  EXPECT_TRUE(is_error(file->fsync(*fixture->issuer), Errc::timed_out));
  expect_poisoned();
}

TEST_P(VolumeDeadline, ASyncEnds) {
  must(fixture->volume->mkdir("/new"));
  stop_answering();
  EXPECT_TRUE(is_error(fixture->volume->sync(*fixture->issuer), Errc::timed_out));
  expect_poisoned();
}

TEST_P(VolumeDeadline, ACloseEnds) {
  must(fixture->volume->mkdir("/new"));
  file.reset();
  stop_answering();
  EXPECT_TRUE(is_error(fixture->volume->close(*fixture->issuer), Errc::timed_out));
}

TEST_P(VolumeDeadline, ATruncateEndsThoughAWriteInItsWayIsNotAnswered) {
  stop_answering();
  Aiocb write;
  write.prepare_write(*file, 0, data.span());
  fixture->issuer->submit(write);
  // The drain ends with the write, and the truncate then finds the volume poisoned.
  EXPECT_TRUE(is_error(file->truncate(*fixture->issuer, 0), Errc::poisoned));
  EXPECT_EQ(fixture->issuer->in_flight(), 1U);  // Settled, and not delivered in a drain.
  fixture->issuer->wait();
  EXPECT_EQ(write.result, timed_out);
  EXPECT_EQ(file->size(), 8192U);
  expect_poisoned();
}

TEST_P(VolumeDeadline, ATruncateThatCleansTheTailEnds) {
  must(file->truncate(*fixture->issuer, 700));
  stop_answering();
  EXPECT_TRUE(is_error(file->truncate(*fixture->issuer, 8192), Errc::timed_out));
  expect_poisoned();
}

TEST_P(VolumeDeadline, AWriteBehindAnUncleanTailEnds) {
  must(file->truncate(*fixture->issuer, 700));
  stop_answering();
  EXPECT_EQ(fixture->write(*file, 4096, data.span()), timed_out);
  expect_poisoned();
}

TEST_P(VolumeDeadline, AFormatAndAnOpenEnd) {
  file.reset();
  must(fixture->volume->close(*fixture->issuer));
  fixture->volume.reset();
  fixture->issuer->detach(*fixture->device);
  stop_answering();
  const auto format = [&](BlockDevice& device) {
    const auto issuer = must(Issuer::create());
    return Volume::format(*issuer, device, {.overwrite = true});
  };
  const auto first = make_deadline_device(below, clock.options());
  EXPECT_TRUE(is_error(format(*first), Errc::timed_out));
  const auto second = make_deadline_device(below, clock.options());
  {
    const auto issuer = must(Issuer::create());
    const auto opened = Volume::open(*issuer, *second);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), Errc::io) << opened.error().message();
    EXPECT_NE(opened.error().message().find("timed_out"), std::string::npos);
  }
  while (below.held_count() != 0)
    below.end_here();
  EXPECT_EQ(overdue(*first) + overdue(*second), 0U);
}

INSTANTIATE_TEST_SUITE_P(volume, VolumeDeadline,
                         ::testing::Values(DeadlineCase{"no_cache", false, false},
                                           DeadlineCase{"cache", true, false},
                                           DeadlineCase{"cache_with_fua", true, true}),
                         [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace handback::testing
