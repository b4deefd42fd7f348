// The three formats, letter by letter.
#include <gtest/gtest.h>
#include <handback/trace.h>

#include <cerrno>

#include "trace/event_fields.h"

namespace handback::testing {
namespace {

constexpr KiocbFlags write_flags =
    KiocbFlags::dsync | KiocbFlags::direct | KiocbFlags::write | KiocbFlags::dio_defer;

TraceRecord of_write(TraceEvent event, std::uint64_t time_ns) {
  return TraceRecord{.time_ns = time_ns,
                     .request = 0x7f00,
                     .file_id = 7,
                     .offset = 4096,
                     .length = 8192,
                     .tid = 4711,
                     .flags = write_flags,
                     .cpu = 1,
                     .event = event,
                     .aio = true};
}

// A DSYNC write that extends its file, settled by another thread; and what else there is.
TraceBatch batch_of_everything() {
  TraceBatch batch;
  batch.threads = {{4711, "handback"}, {4712, "other \"one\"\n"}};
  TraceRecord begin = of_write(TraceEvent::iomap_dio_rw_begin, 1'234'567'890'123);
  begin.value = 4096;
  TraceRecord queued = of_write(TraceEvent::iomap_dio_rw_queued, 1'234'567'891'000);
  queued.value = 4096;
  const TraceRecord drain{.time_ns = 1'234'567'900'000,
                          .request = 0x8000,
                          .offset = 4096,
                          .length = 4096,
                          .tid = 4712,
                          .event = TraceEvent::drain_begin};
  const TraceRecord nudge{
      .time_ns = 1'234'568'000'000, .value = 4711, .tid = 4712, .event = TraceEvent::nudge};
  TraceRecord adopt = of_write(TraceEvent::adopt, 1'234'568'100'000);
  adopt.tid = 4712;
  adopt.cpu = 0;
  adopt.context = Context::issuer;
  adopt.value = 4711;
  TraceRecord complete = of_write(TraceEvent::iomap_dio_complete, 1'234'568'200'000);
  complete.tid = 4712;
  complete.cpu = 0;
  complete.context = Context::issuer;
  complete.route = Route::issuer;
  complete.reason = RouteReason::extending;
  complete.adopted = true;
  complete.value = std::bit_cast<std::uint64_t>(IoResult::success(8192));
  TraceRecord drained = drain;
  drained.event = TraceEvent::drain_end;
  drained.time_ns = 1'234'568'300'000;
  drained.value = 400'000;
  TraceRecord deliver = of_write(TraceEvent::deliver, 1'234'569'000'000);
  deliver.route = Route::issuer;
  deliver.reason = RouteReason::extending;
  deliver.value = complete.value;
  const TraceRecord lost{
      .time_ns = 1'234'569'000'000, .value = 12, .tid = 4711, .cpu = 1, .event = TraceEvent::lost};
  batch.records = {begin, queued, drain, nudge, adopt, complete, drained, deliver, lost};
  return batch;
}

std::string document(TraceFormat format, const TraceBatch& batch) {
  TraceWriter writer(format, 4700);
  std::string text = writer.write(batch);
  return text + writer.finish();
}

TEST(TraceText, IsLaidOutAsTheKernels) {
  EXPECT_EQ(document(TraceFormat::ftrace, batch_of_everything()),
            R"(# tracer: nop
#
#                                _-----=> context: t task, d device, i issuer, w worker
#                               / _----=> a: settled by the thread of another issuer
#                              | / _---=> always a dot, as are the next two
#                              || /
#                              |||
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
        handback-4711    [001] t....  1234.567890: iomap_dio_rw_begin: ino 0x7 size 0x1000 offset 0x1000 length 0x2000 done_before 0x0 flags DSYNC|DIRECT|WRITE|DIO_DEFER dio_flags 0 aio 1
        handback-4711    [001] t....  1234.567891: iomap_dio_rw_queued: ino 0x7 size 0x1000 offset 0x1000 length 0x2000 flags DSYNC|DIRECT|WRITE|DIO_DEFER
    other "one"?-4712    [000] t....  1234.567900: handback_drain_begin: offset 0x1000 length 0x1000
    other "one"?-4712    [000] t....  1234.568000: handback_nudge: to 4711
    other "one"?-4712    [000] i....  1234.568100: handback_adopt: ino 0x7 offset 0x1000 length 0x2000 flags DSYNC|DIRECT|WRITE|DIO_DEFER owner 4711
    other "one"?-4712    [000] ia...  1234.568200: iomap_dio_complete: ino 0x7 offset 0x1000 length 0x2000 flags DSYNC|DIRECT|WRITE|DIO_DEFER aio 1 error 0 ret 8192 route issuer reason extending context issuer adopted 1
    other "one"?-4712    [000] t....  1234.568300: handback_drain_end: offset 0x1000 length 0x1000 waited_ns 400000
        handback-4711    [001] t....  1234.569000: handback_deliver: ino 0x7 offset 0x1000 length 0x2000 flags DSYNC|DIRECT|WRITE|DIO_DEFER error 0 ret 8192 route issuer reason extending
        handback-4711    [001] t....  1234.569000: handback_lost: count 12
)");
}

TEST(TraceJson, IsOneObjectALine) {
  EXPECT_EQ(
      document(TraceFormat::json, batch_of_everything()),
      R"({"event":"iomap_dio_rw_begin","time_ns":1234567890123,"thread":"handback","tid":4711,"cpu":1,"context":"task","request":"0x7f00","ino":7,"size":4096,"offset":4096,"length":8192,"flags":"DSYNC|DIRECT|WRITE|DIO_DEFER","aio":true}
{"event":"iomap_dio_rw_queued","time_ns":1234567891000,"thread":"handback","tid":4711,"cpu":1,"context":"task","request":"0x7f00","ino":7,"size":4096,"offset":4096,"length":8192,"flags":"DSYNC|DIRECT|WRITE|DIO_DEFER"}
{"event":"handback_drain_begin","time_ns":1234567900000,"thread":"other \"one\"\u000a","tid":4712,"cpu":0,"context":"task","request":"0x8000","offset":4096,"length":4096}
{"event":"handback_nudge","time_ns":1234568000000,"thread":"other \"one\"\u000a","tid":4712,"cpu":0,"context":"task","to":4711}
{"event":"handback_adopt","time_ns":1234568100000,"thread":"other \"one\"\u000a","tid":4712,"cpu":0,"context":"issuer","request":"0x7f00","ino":7,"offset":4096,"length":8192,"flags":"DSYNC|DIRECT|WRITE|DIO_DEFER","owner":4711}
{"event":"iomap_dio_complete","time_ns":1234568200000,"thread":"other \"one\"\u000a","tid":4712,"cpu":0,"request":"0x7f00","ino":7,"offset":4096,"length":8192,"flags":"DSYNC|DIRECT|WRITE|DIO_DEFER","aio":true,"result":"ok","bytes":8192,"route":"issuer","reason":"extending","context":"issuer","adopted":true}
{"event":"handback_drain_end","time_ns":1234568300000,"thread":"other \"one\"\u000a","tid":4712,"cpu":0,"context":"task","request":"0x8000","offset":4096,"length":4096,"waited_ns":400000}
{"event":"handback_deliver","time_ns":1234569000000,"thread":"handback","tid":4711,"cpu":1,"context":"task","request":"0x7f00","ino":7,"offset":4096,"length":8192,"flags":"DSYNC|DIRECT|WRITE|DIO_DEFER","result":"ok","bytes":8192,"route":"issuer","reason":"extending"}
{"event":"handback_lost","time_ns":1234569000000,"thread":"handback","tid":4711,"cpu":1,"context":"task","count":12}
)");
}

TEST(TraceChrome, HasASpanForEachRequestAndMarksForTheRest) {
  EXPECT_EQ(document(TraceFormat::chrome, batch_of_everything()),
            R"({"displayTimeUnit":"ns","traceEvents":[
{"ph":"M","name":"process_name","pid":4700,"args":{"name":"handback"}},
{"ph":"M","name":"thread_name","pid":4700,"tid":4711,"args":{"name":"handback"}},
{"ph":"M","name":"thread_name","pid":4700,"tid":4712,"args":{"name":"other \"one\"\u000a"}},
{"ph":"b","name":"write ino 7","cat":"request","id":"0x7f00","pid":4700,"tid":4711,"ts":1234567890.123,"args":{"cpu":1,"context":"task","request":"0x7f00","ino":7,"size":4096,"offset":4096,"length":8192,"flags":"DSYNC|DIRECT|WRITE|DIO_DEFER","aio":true}},
{"ph":"b","name":"until settled","cat":"request","id":"0x7f00","pid":4700,"tid":4711,"ts":1234567890.123},
{"ph":"i","name":"iomap_dio_rw_queued","s":"t","pid":4700,"tid":4711,"ts":1234567891.000,"args":{"cpu":1,"context":"task","request":"0x7f00","ino":7,"size":4096,"offset":4096,"length":8192,"flags":"DSYNC|DIRECT|WRITE|DIO_DEFER"}},
{"ph":"b","name":"drain","cat":"drain","id":"0x8000","pid":4700,"tid":4712,"ts":1234567900.000,"args":{"cpu":0,"context":"task","request":"0x8000","offset":4096,"length":4096}},
{"ph":"i","name":"handback_nudge","s":"t","pid":4700,"tid":4712,"ts":1234568000.000,"args":{"cpu":0,"context":"task","to":4711}},
{"ph":"i","name":"handback_adopt","s":"t","pid":4700,"tid":4712,"ts":1234568100.000,"args":{"cpu":0,"context":"issuer","request":"0x7f00","ino":7,"offset":4096,"length":8192,"flags":"DSYNC|DIRECT|WRITE|DIO_DEFER","owner":4711}},
{"ph":"e","name":"until settled","cat":"request","id":"0x7f00","pid":4700,"tid":4712,"ts":1234568200.000,"args":{"cpu":0,"request":"0x7f00","ino":7,"offset":4096,"length":8192,"flags":"DSYNC|DIRECT|WRITE|DIO_DEFER","aio":true,"result":"ok","bytes":8192,"route":"issuer","reason":"extending","context":"issuer","adopted":true}},
{"ph":"b","name":"until delivered","cat":"request","id":"0x7f00","pid":4700,"tid":4712,"ts":1234568200.000},
{"ph":"e","name":"drain","cat":"drain","id":"0x8000","pid":4700,"tid":4712,"ts":1234568300.000,"args":{"cpu":0,"context":"task","request":"0x8000","offset":4096,"length":4096,"waited_ns":400000}},
{"ph":"e","name":"until delivered","cat":"request","id":"0x7f00","pid":4700,"tid":4711,"ts":1234569000.000},
{"ph":"e","name":"write ino 7","cat":"request","id":"0x7f00","pid":4700,"tid":4711,"ts":1234569000.000,"args":{"cpu":1,"context":"task","request":"0x7f00","ino":7,"offset":4096,"length":8192,"flags":"DSYNC|DIRECT|WRITE|DIO_DEFER","result":"ok","bytes":8192,"route":"issuer","reason":"extending"}},
{"ph":"i","name":"handback_lost","s":"t","pid":4700,"tid":4711,"ts":1234569000.000,"args":{"cpu":1,"context":"task","count":12}}
]}
)");
}

TEST(TraceChrome, EndsTheSpanOfASynchronousRequestWhenItIsSettled) {
  TraceBatch batch;
  TraceRecord begin = of_write(TraceEvent::iomap_dio_rw_begin, 1000);
  begin.aio = false;
  begin.flags = KiocbFlags::direct;
  TraceRecord complete = begin;
  complete.event = TraceEvent::iomap_dio_complete;
  complete.value = std::bit_cast<std::uint64_t>(IoResult::host_failure(EIO));
  batch.records = {begin, complete};
  TraceWriter writer(TraceFormat::chrome, 1);
  const std::string text = writer.write(batch);
  EXPECT_EQ(text.substr(text.find("\n{\"ph\":\"e\"")),
            R"(
{"ph":"e","name":"until settled","cat":"request","id":"0x7f00","pid":1,"tid":4711,"ts":1.000,"args":{"cpu":1,"request":"0x7f00","ino":7,"offset":4096,"length":8192,"flags":"DIRECT","aio":false,"result":"io","errno":5,"bytes":0,"route":"none","reason":"none","context":"task","adopted":false}},
{"ph":"e","name":"read ino 7","cat":"request","id":"0x7f00","pid":1,"tid":4711,"ts":1.000})");
}

// Tracing may begin when requests are in flight, and some are refused before they begin.
TEST(TraceChrome, MarksWhatHasNoBeginning) {
  TraceBatch batch;
  batch.records = {of_write(TraceEvent::iomap_dio_complete, 1), of_write(TraceEvent::deliver, 2)};
  TraceWriter writer(TraceFormat::chrome, 1);
  const std::string text = writer.write(batch);
  EXPECT_NE(text.find(R"({"ph":"i","name":"iomap_dio_complete")"), std::string::npos);
  EXPECT_NE(text.find(R"({"ph":"i","name":"handback_deliver")"), std::string::npos);
  EXPECT_EQ(text.find(R"("ph":"e")"), std::string::npos);
}

TEST(TraceText, SaysWhatFailed) {
  TraceRecord record = of_write(TraceEvent::iomap_dio_complete, 0);
  record.value = std::bit_cast<std::uint64_t>(IoResult::host_failure(EIO, 4096));
  record.route = Route::worker;
  record.reason = RouteReason::no_defer;
  record.context = Context::worker;
  std::string text;
  append_text_fields(text, record);
  EXPECT_EQ(text,
            "ino 0x7 offset 0x1000 length 0x2000 flags DSYNC|DIRECT|WRITE|DIO_DEFER aio 1 error io "
            "errno 5 ret 4096 route worker reason no_defer context worker adopted 0");
  record.value = std::bit_cast<std::uint64_t>(IoResult::failure(Errc::no_space));
  text.clear();
  append_text_fields(text, record);
  EXPECT_NE(text.find(" error no_space ret 0 "), std::string::npos);
}

TEST(TraceText, GivesTheLargestNumbersWhole) {
  TraceRecord record;
  record.file_id = 18446744073709551615U;
  record.offset = 9223372036854771712U;
  record.length = io_length_bytes_max;
  record.value = 18446744073709551615U;
  std::string text;
  append_text_fields(text, record);
  EXPECT_EQ(text,
            "ino 0xffffffffffffffff size 0xffffffffffffffff offset 0x7ffffffffffff000 length "
            "0x7ffff000 done_before 0x0 flags 0 dio_flags 0 aio 0");
  text.clear();
  append_json_fields(text, record);
  EXPECT_EQ(text, R"("request":"0x0","ino":18446744073709551615,"size":18446744073709551615,)"
                  R"("offset":9223372036854771712,"length":2147479552,"flags":"0","aio":false)");
}

TEST(TraceWriterPieces, ContinueOneDocument) {
  const TraceBatch whole = batch_of_everything();
  for (const TraceFormat format : {TraceFormat::ftrace, TraceFormat::json, TraceFormat::chrome}) {
    TraceWriter writer(format, 4700);
    std::string text;
    for (const TraceRecord& record : whole.records) {
      TraceBatch piece;
      piece.records = {record};
      if (&record == whole.records.data()) piece.threads = whole.threads;
      text += writer.write(piece);
    }
    EXPECT_EQ(text + writer.finish(), document(format, whole));
  }
}

TEST(TraceWriterPieces, OfNothingAreADocumentToo) {
  EXPECT_EQ(document(TraceFormat::json, {}), "");
  EXPECT_EQ(document(TraceFormat::chrome, {}),
            "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"
            "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":4700,\"args\":{\"name\":\"handback\"}}"
            "\n]}\n");
}

TEST(TraceNames, AreThoseOfTheProbes) {
  EXPECT_EQ(to_string(TraceEvent::iomap_dio_rw_begin), "iomap_dio_rw_begin");
  EXPECT_EQ(to_string(TraceEvent::drain_end), "handback_drain_end");
  EXPECT_EQ(to_string(static_cast<TraceEvent>(trace_event_count - 1)), "handback_lost");
  EXPECT_EQ(to_string(static_cast<TraceEvent>(trace_event_count)), "unknown");
}

}  // namespace
}  // namespace handback::testing
