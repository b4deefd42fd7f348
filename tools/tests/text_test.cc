// What people read and type: sizes, numbers, progress, paths.
#include "common/text.h"

#include <gmock/gmock.h>

#include "common/paths.h"
#include "common/progress.h"
#include "handback/bench/latency_histogram.h"

namespace tool {
namespace {

TEST(Text, SizesAreShownWithThreeDigits) {
  EXPECT_EQ(human_size(0), "0 B");
  EXPECT_EQ(human_size(1023), "1023 B");
  EXPECT_EQ(human_size(1024), "1 KiB");
  EXPECT_EQ(human_size(1536), "1.5 KiB");
  EXPECT_EQ(human_size((1U << 20) - 1), "1.0 MiB");
  EXPECT_EQ(human_size(199U << 19), "99.5 MiB");
  EXPECT_EQ(human_size(256U << 20), "256 MiB");
  EXPECT_EQ(human_size(~std::uint64_t{0}), "16 EiB");
}

TEST(Text, SizesAreReadInPowersOf1024) {
  EXPECT_EQ(parse_size("0"), 0);
  EXPECT_EQ(parse_size("4096"), 4096);
  EXPECT_EQ(parse_size("64K"), 64U << 10);
  EXPECT_EQ(parse_size("64k"), 64U << 10);
  EXPECT_EQ(parse_size("1.5G"), 3U << 29);
  EXPECT_EQ(parse_size("2TiB"), std::uint64_t{2} << 40);
  EXPECT_EQ(parse_size("7MB"), 7U << 20);
  EXPECT_EQ(parse_size("18446744073709551615"), ~std::uint64_t{0});
}

TEST(Text, WhatIsNoSizeIsNotRead) {
  for (const char* text :
       {"", " 1", "-1", "+1", "1 ", "K", "1X", "1KK", "0x10", "1e3", "nan", "inf", ".5", "1..5",
        "18446744073709551616", "16E", "17179869184G", "1MiBs"}) {
    EXPECT_EQ(parse_size(text), std::nullopt) << text;
  }
}

TEST(Text, NumbersAndCountsAreWrittenOut) {
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(count_of(1, "file", "files"), "1 file");
  EXPECT_EQ(count_of(0, "file", "files"), "0 files");
}

TEST(Text, DurationsSuitTheirLength) {
  EXPECT_EQ(human_duration(850'000), "850 us");
  EXPECT_EQ(human_duration(3'000'000), "3 ms");
  EXPECT_EQ(human_duration(1'234'000'000), "1.2 s");
  EXPECT_EQ(human_duration(125'000'000'000), "2 min 5 s");
  EXPECT_EQ(human_duration(7'320'000'000'000), "2 h 2 min");
}

TEST(Text, AProgressLineFitsTheTerminal) {
  ProgressState state{.what = "put",
                      .done = 1U << 30,
                      .total = std::uint64_t{2} << 30,
                      .per_second = 512.0 * (1 << 20),
                      .columns = 80};
  EXPECT_EQ(progress_line(state),
            "put  [==============>              ]  50 %  1 GiB of 2 GiB  512 MiB/s  2 s left");
  for (unsigned columns = 1; columns < 200; ++columns) {
    state.columns = columns;
    EXPECT_LT(progress_line(state).size(), columns);
  }
  state.per_second = 1 << 20;
  state.columns = 80;
  EXPECT_THAT(progress_line(state), ::testing::HasSubstr("17 min 4 s left"));
}

TEST(Text, ProgressOfRunsCountsThem) {
  const ProgressState state{.what = "overwriting",
                            .done = 5,
                            .total = 20,
                            .per_second = 0.5,
                            .unit = ProgressState::Unit::runs,
                            .columns = 60};
  EXPECT_EQ(progress_line(state), "overwriting  [====>             ]  25 %  5 of 20  30 s left");
}

TEST(Paths, AreMadeNormalBeforeTheyAreUsed) {
  EXPECT_EQ(normal_path(""), "/");
  EXPECT_EQ(normal_path("///"), "/");
  EXPECT_EQ(normal_path("a//b/"), "/a/b");
  EXPECT_EQ(normal_path("/a/../b"), "/a/../b");
  EXPECT_EQ(parent_path("/a"), "/");
  EXPECT_EQ(parent_path("/a/b"), "/a");
  EXPECT_EQ(base_name("/a/b"), "b");
  EXPECT_EQ(join_path("/", "a"), "/a");
}

TEST(LatencyHistogram, QuantilesAreWithinOneBucket) {
  LatencyHistogram latencies;
  for (std::uint64_t i = 1; i <= 100'000; ++i)
    latencies.add(i * 10);
  EXPECT_EQ(latencies.count(), 100'000);
  EXPECT_NEAR(static_cast<double>(latencies.quantile_ns(0.5)), 500'000, 500'000 / 60.0);
  EXPECT_NEAR(static_cast<double>(latencies.quantile_ns(0.99)), 990'000, 990'000 / 60.0);
  latencies.add(~std::uint64_t{0});
  EXPECT_EQ(LatencyHistogram().quantile_ns(0.5), 0);
}

}  // namespace
}  // namespace tool
