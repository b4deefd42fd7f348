// What a user does from the first volume on, with every byte compared.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Story : public ProgramTest {};

// Sizes on both sides of every boundary that the program and the volume know.
const std::vector<std::size_t> sizes{0,    1,    511,    512,    513,    4095,    4096,
                                     4097, 8192, 131071, 131072, 131073, 1048576, 3000001};

TEST_F(Story, APutTreeComesBackByteForByteWithItsTimes) {
  const std::string image = make_volume("vol.img", "64M");
  for (const std::size_t size : sizes) {
    const std::string file = path("tree/deep/er/file" + std::to_string(size));
    write_file(file, scrambled(size, size + 7));
    set_mtime(file, 1'600'000'000'123'456'789 + static_cast<std::int64_t>(size));
  }
  std::filesystem::create_directories(path("tree/empty"));
  EXPECT_RAN(run({"put", image, path("tree"), "/tree"}));
  EXPECT_RAN(run({"check", image}));
  EXPECT_RAN(run({"get", image, "/tree", path("back")}));
  for (const std::size_t size : sizes) {
    const std::string name = "/deep/er/file" + std::to_string(size);
    EXPECT_TRUE(read_file(path("back") + name) == scrambled(size, size + 7)) << size;
    struct stat status {};
    ASSERT_EQ(stat((path("back") + name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mtim.tv_sec, 1'600'000'000) << size;
    EXPECT_EQ(status.st_mtim.tv_nsec, 123'456'789 + static_cast<long>(size)) << size;
  }
  EXPECT_TRUE(std::filesystem::is_directory(path("back/empty")));
}

TEST_F(Story, TheThreadEngineGivesTheSameBytes) {
  const std::string image = make_volume();
  write_file(path("a"), scrambled(2'000'003));
  const Ran put = run({"--engine", "threads", "put", image, path("a"), "/a"});
  EXPECT_EQ(put.exit_code, 0) << put.err;
  EXPECT_TRUE(run({"--engine", "threads", "cat", image, "/a"}).out == read_file(path("a")));
  EXPECT_TRUE(run({"--engine", "auto", "cat", image, "/a"}).out == read_file(path("a")));
}

TEST_F(Story, CatPrintsFilesInTheOrderGiven) {
  const std::string image = make_volume();
  write_file(path("a"), scrambled(300'000, 1));
  write_file(path("b"), "");
  write_file(path("c"), scrambled(5, 3));
  EXPECT_RAN(run({"put", image, path("a"), path("b"), path("c"), "/"}));
  const Ran ran = run({"cat", image, "/c", "/a", "/b", "c"});
  EXPECT_RAN(ran);
  EXPECT_TRUE(ran.out == read_file(path("c")) + read_file(path("a")) + read_file(path("c")));
}

TEST_F(Story, MkdirMvAndRmChangeWhatLsShows) {
  const std::string image = make_volume();
  EXPECT_RAN(run({"mkdir", image, "/docs", "/docs/old"}));
  EXPECT_RAN(run({"mkdir", "-p", image, "/a/b/c", "/docs"}));
  write_file(path("note"), "hello");
  EXPECT_RAN(run({"put", image, path("note"), "/docs"}));
  EXPECT_EQ(run({"ls", image}).out, "a/\ndocs/\n");
  EXPECT_EQ(run({"ls", "-R", image, "/docs"}).out, "/docs/note\n/docs/old/\n");
  EXPECT_RAN(run({"mv", image, "/docs/note", "/docs/old"}));
  EXPECT_EQ(run({"cat", image, "/docs/old/note"}).out, "hello");
  EXPECT_RAN(run({"mv", image, "/docs/old/note", "/renamed"}));
  EXPECT_RAN(run({"mv", image, "/docs", "/a/b"}));
  EXPECT_EQ(run({"ls", "-R", image}).out,
            "/a/\n/a/b/\n/a/b/c/\n/a/b/docs/\n/a/b/docs/old/\n/renamed\n");
  EXPECT_RAN(run({"rm", image, "/renamed"}));
  EXPECT_RAN(run({"rm", "-r", image, "/a"}));
  EXPECT_RAN(run({"rm", "-f", image, "/a"}));
  EXPECT_EQ(run({"ls", image}).out, "");
  EXPECT_RAN(run({"check", image}));
}

TEST_F(Story, MvReplacesAFileAndKeepsTheNewContent) {
  const std::string image = make_volume();
  write_file(path("old"), scrambled(10'000, 1));
  write_file(path("new"), scrambled(20'000, 2));
  EXPECT_RAN(run({"put", image, path("old"), path("new"), "/"}));
  EXPECT_RAN(run({"mv", image, "/new", "/old"}));
  EXPECT_EQ(run({"ls", image}).out, "old\n");
  EXPECT_TRUE(run({"cat", image, "/old"}).out == read_file(path("new")));
  EXPECT_RAN(run({"check", image}));
}

TEST_F(Story, LnGivesAFileOneMoreNameThatOutlivesTheFirst) {
  const std::string image = make_volume();
  write_file(path("a"), scrambled(5000, 3));
  EXPECT_RAN(run({"put", image, path("a"), "/a"}));
  EXPECT_RAN(run({"mkdir", image, "/d"}));
  EXPECT_RAN(run({"ln", image, "/a", "/b"}));
  EXPECT_RAN(run({"ln", image, "/a", "/d"}));
  EXPECT_RAN(run({"rm", image, "/a"}));
  EXPECT_TRUE(run({"cat", image, "/d/a"}).out == scrambled(5000, 3));
  EXPECT_THAT(run({"stat", image, "/b"}).out, ContainsRegex("links +2"));
  EXPECT_RAN(run({"check", image}));
}

TEST_F(Story, StatNamesSizeAndExtentsWithFlags) {
  const std::string image = make_volume();
  write_file(path("f"), scrambled(10'000));
  EXPECT_RAN(run({"put", image, path("f"), "/f"}));
  const Ran ran = run({"stat", image, "/f"});
  EXPECT_RAN(ran);
  EXPECT_THAT(ran.out, HasSubstr("10,000 bytes (9.8 KiB)"));
  EXPECT_THAT(ran.out, HasSubstr("written,last"));
  EXPECT_THAT(run({"stat", image, "/"}).out, HasSubstr("directory"));
}

TEST_F(Story, LsWithDetailsLinesUpSizesTimesAndNames) {
  const std::string image = make_volume();
  write_file(path("tree/large"), scrambled(1'500'000));
  write_file(path("tree/small"), "x");
  write_file(path("tree/sub/one"), "1");
  set_mtime(path("tree/small"), 1'600'000'000'000'000'000);
  EXPECT_RAN(run({"put", image, path("tree"), "/"}));
  setenv("TZ", "UTC", 1);
  const std::string out = run({"ls", "-l", image, "/tree"}).out;
  EXPECT_THAT(out, HasSubstr("1.4 MiB  20"));
  EXPECT_THAT(out, HasSubstr("    1 B  2020-09-13 12:26:40  small\n"));
  EXPECT_THAT(out, HasSubstr("1 entry  20"));
  EXPECT_THAT(run({"ls", "-l", "--bytes", image, "/tree"}).out, HasSubstr("1500000  20"));
}

TEST_F(Story, RemovedFilesGiveTheirSpaceBack) {
  const std::string image = make_volume();
  const auto free_bytes = [&] {
    return nlohmann::json::parse(run({"df", image, "--json"}).out)["free_bytes"]
        .get<std::uint64_t>();
  };
  const std::uint64_t free_before = free_bytes();
  write_file(path("f"), scrambled(5'000'000));
  EXPECT_RAN(run({"put", image, path("f"), "/f"}));
  EXPECT_LE(free_bytes(), free_before - 5'000'000);
  EXPECT_RAN(run({"rm", image, "/f"}));
  EXPECT_EQ(free_bytes(), free_before);
}

TEST_F(Story, FormatWithForceEmptiesAVolume) {
  const std::string image = make_volume();
  write_file(path("f"), "text");
  EXPECT_RAN(run({"put", image, path("f"), "/f"}));
  EXPECT_RAN(run({"format", image, "--force", "--label", "second life"}));
  EXPECT_EQ(run({"ls", image}).out, "");
  EXPECT_THAT(run({"df", image}).out, HasSubstr("'second life': 0 files, 1 directory"));
}

TEST_F(Story, TracePrintsWhatHappensToEachRequest) {
  const std::string image = make_volume();
  write_file(path("f"), scrambled(200'000));
  const Ran put = run({"trace", "put", image, path("f"), "/f"});
  EXPECT_EQ(put.exit_code, 0);
  EXPECT_THAT(put.err, StartsWith("# tracer: nop\n#"));
  EXPECT_THAT(put.err,
              ContainsRegex("\n +handback-[0-9]+ +\\[[0-9]{3}\\] t\\.\\.\\.\\. +[0-9]+\\.[0-9]{6}: "
                            "iomap_dio_rw_begin: ino 0x[0-9a-f]+ size 0x0 offset 0x0 "
                            "length 0x20000 done_before 0x0 "
                            "flags DIRECT\\|WRITE\\|DIO_DEFER dio_flags 0 aio 1\n"));
  EXPECT_THAT(put.err,
              ContainsRegex("i\\.\\.\\.\\. +[0-9.]+: iomap_dio_complete: .* error 0 ret 131072 "
                            "route issuer reason extending context issuer adopted 0\n"));
  EXPECT_THAT(put.err, HasSubstr(": handback_deliver: "));
}

TEST_F(Story, TraceInJsonTellsTheSameOfEachEvent) {
  const std::string image = make_volume();
  write_file(path("f"), scrambled(200'000));
  EXPECT_RAN(run({"put", image, path("f"), "/f"}));
  const Ran cat = run({"trace", "--output", path("log"), "--json", "cat", image, "/f"});
  EXPECT_RAN(cat);
  EXPECT_TRUE(cat.out == read_file(path("f")));
  EXPECT_RAN(run({"trace", "--output", path("log2"), "--format", "json", "cat", image, "/f"}));
  std::uint64_t delivered_bytes = 0;
  std::uint64_t last_ns = 0;
  std::istringstream log(read_file(path("log")));
  for (std::string text; std::getline(log, text);) {
    const auto line = nlohmann::json::parse(text);
    EXPECT_LE(last_ns, line["time_ns"].get<std::uint64_t>());
    last_ns = line["time_ns"].get<std::uint64_t>();
    if (line["event"] != "handback_deliver") continue;
    EXPECT_EQ(line["thread"], "handback");
    EXPECT_EQ(line["flags"], "DIRECT|DIO_DEFER");
    EXPECT_EQ(line["route"], "inline");
    EXPECT_EQ(line["reason"], "read_ok");
    EXPECT_EQ(line["result"], "ok");
    delivered_bytes += line["bytes"].get<std::uint64_t>();
  }
  EXPECT_EQ(delivered_bytes, 200'000U);
}

TEST_F(Story, TraceForPerfettoHasASpanForEachRequest) {
  const std::string image = make_volume();
  write_file(path("f"), scrambled(200'000));
  EXPECT_RAN(
      run({"trace", "--output", path("log"), "--format", "chrome", "put", image, path("f"), "/f"}));
  const auto trace = nlohmann::json::parse(read_file(path("log")));
  int begun = 0;
  int ended = 0;
  for (const auto& event : trace["traceEvents"]) {
    if (event["ph"] == "b") ++begun;
    if (event["ph"] == "e") ++ended;
  }
  EXPECT_GT(begun, 0);
  EXPECT_EQ(begun, ended);
}

TEST_F(Story, TraceEndsAsTheCommandInItEnds) {
  const std::string image = make_volume();
  EXPECT_EQ(run({"trace", "cat", image, "/nothing"}).exit_code, 1);
  EXPECT_EQ(run({"trace", "ls"}).exit_code, 2);
  EXPECT_EQ(run({"trace"}).exit_code, 2);
  EXPECT_EQ(run({"trace", "--format", "xml", "ls", image}).exit_code, 2);
  EXPECT_EQ(run({"trace", "--json", "--format", "chrome", "ls", image}).exit_code, 2);
  EXPECT_EQ(run({"trace", "trace", "ls", image}).exit_code, 2);
  EXPECT_EQ(run({"trace", "--output", folder(), "ls", image}).exit_code, 1);
}

TEST_F(Story, EveryListingIsJsonThatParses) {
  const std::string image = make_volume();
  write_file(path("tree/\xff-not-utf8"), "x");
  write_file(path("tree/\"quoted\"\n"), scrambled(5000));
  const std::vector<std::vector<std::string>> commands{
      {"put", image, path("tree"), "/tree", "--json"},
      {"ls", image, "-R", "--json"},
      {"stat", image, "/tree", "--json"},
      {"df", image, "--json"},
      {"check", image, "--json"},
      {"get", image, "/tree", path("back"), "--json"},
      {"format", image, "--force", "--json"}};
  for (const auto& command : commands) {
    SCOPED_TRACE(::testing::PrintToString(command));
    const Ran ran = run(command);
    EXPECT_RAN(ran);
    const auto json = nlohmann::json::parse(ran.out, nullptr, false);
    ASSERT_FALSE(json.is_discarded());
    EXPECT_EQ(json["command"], command[0]);
  }
}

TEST_F(Story, ListingsShowNoControlCharacters) {
  const std::string image = make_volume();
  EXPECT_RAN(run({"mkdir", image, "/\x1b[31mred\n"}));
  EXPECT_EQ(run({"ls", image}).out, "\\x1b[31mred\\x0a/\n");
  EXPECT_THAT(run({"cat", image, "/\x1b[2J"}).err, Not(HasSubstr("\x1b")));
}

TEST_F(Story, DirectoriesMayLieVeryDeepInOneAnother) {
  const std::string image = make_volume("vol.img", "32M");
  std::string deep;
  for (int i = 0; i < 4000; ++i)
    deep += "/d";
  EXPECT_RAN(run({"mkdir", "-p", image, deep}));
  EXPECT_TRUE(run({"ls", "-R", image}).out.ends_with(deep + "/\n"));
  EXPECT_RAN(run({"check", image}));
  EXPECT_RAN(run({"rm", "-r", image, "/d"}));
  EXPECT_EQ(run({"ls", image}).out, "");
}

TEST_F(Story, ABlankBlockDeviceIsFormattedWithoutForce) {
  if (geteuid() != 0) GTEST_SKIP() << "a loop device needs root";
  write_file(path("disk"), "");
  std::filesystem::resize_file(path("disk"), 32U << 20);
  const Ran loop = run_program("/sbin/losetup", {"--show", "-f", path("disk")});
  if (loop.exit_code != 0) GTEST_SKIP() << "no loop device here: " << loop.err;
  const std::string device = loop.out.substr(0, loop.out.find('\n'));
  write_file(path("f"), scrambled(100'000));
  EXPECT_RAN(run({"format", device}));
  EXPECT_RAN(run({"put", device, path("f"), "/f"}));
  EXPECT_TRUE(run({"cat", device, "/f"}).out == read_file(path("f")));
  EXPECT_EQ(run({"format", device}).exit_code, 1);
  EXPECT_EQ(run_program("/sbin/losetup", {"-d", device}).exit_code, 0);
}

}  // namespace
}  // namespace tool::testing
