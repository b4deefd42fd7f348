#include <gtest/gtest.h>
#include <handback/trace.h>

#include <cerrno>

namespace handback::testing {
namespace {

TraceRecord extending_write() {
  return TraceRecord{
      .submitted_ns = 1'000'000,
      .settled_ns = 1'012'340,
      .delivered_ns = 3'000'060,
      .file_id = 7,
      .offset = 4096,
      .length = 8192,
      .flags = KiocbFlags::direct | KiocbFlags::write | KiocbFlags::dio_defer,
      .result = IoResult::success(8192),
      .route = Route::issuer,
      .reason = RouteReason::extending,
  };
}

TEST(TraceLine, GivesWhatTheRequestWasHowItWasRoutedAndWhen) {
  EXPECT_EQ(
      to_string(extending_write()),
      "ino=7 offset=4096 length=8192 flags=DIRECT|WRITE|DIO_DEFER route=issuer reason=extending "
      "result=8192 settled_us=12.3 delivered_us=2000.1");
}

TEST(TraceLine, DescribesAFailure) {
  TraceRecord record = extending_write();
  record.result = IoResult::host_failure(EIO, 4096);
  record.reason = RouteReason::error;
  EXPECT_EQ(to_string(record),
            "ino=7 offset=4096 length=8192 flags=DIRECT|WRITE|DIO_DEFER route=issuer reason=error "
            "result=io: Input/output error (errno 5); the first 4096 bytes were transferred "
            "settled_us=12.3 delivered_us=2000.1");
}

TEST(TraceLine, GivesTheLargestNumbersWhole) {
  TraceRecord record = extending_write();
  record.file_id = 18446744073709551615U;
  record.offset = 9223372036854771712U;
  record.length = io_length_bytes_max;
  record.result = IoResult::success(io_length_bytes_max);
  EXPECT_EQ(to_string(record),
            "ino=18446744073709551615 offset=9223372036854771712 length=2147479552 "
            "flags=DIRECT|WRITE|DIO_DEFER route=issuer reason=extending result=2147479552 "
            "settled_us=12.3 delivered_us=2000.1");
}

TEST(TraceLine, GivesNoTimeForWhatHasNotHappened) {
  TraceRecord record = extending_write();
  record.settled_ns = 0;
  record.delivered_ns = record.submitted_ns;
  EXPECT_EQ(
      to_string(record),
      "ino=7 offset=4096 length=8192 flags=DIRECT|WRITE|DIO_DEFER route=issuer reason=extending "
      "result=8192 settled_us=0.0 delivered_us=0.0");
}

TEST(TraceLine, OfAnEmptyRecordNamesEveryField) {
  EXPECT_EQ(to_string(TraceRecord{}),
            "ino=0 offset=0 length=0 flags=0 route=none reason=none result=0 settled_us=0.0 "
            "delivered_us=0.0");
}

TEST(TraceLine, IsOneLine) {
  TraceRecord record = extending_write();
  record.result = IoResult::failure(Errc::not_supported, IoDetail::flag_hipri);
  EXPECT_EQ(to_string(record).find('\n'), std::string::npos);
}

}  // namespace
}  // namespace handback::testing
