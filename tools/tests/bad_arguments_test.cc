// Command lines, names, sizes and volumes that cannot work: a clear error, its exit code, and no
// damage.
#include <gmock/gmock.h>
#include <handback/host_device.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class BadArguments : public ProgramTest {};

TEST_F(BadArguments, AWrongCommandLineIsExplained) {
  const std::vector<std::vector<std::string>> lines{{},
                                                    {"frobnicate"},
                                                    {"ls"},
                                                    {"ls", "a", "b", "c"},
                                                    {"ls", "a", "--frobnicate"},
                                                    {"put"},
                                                    {"put", "a"},
                                                    {"mv", "a", "/b"},
                                                    {"--engine", "steam", "ls", "a"},
                                                    {"format"},
                                                    {"format", "x", "--size", "lots"},
                                                    {"bench"},
                                                    {"bench", "overwrite", "--qd", "0"}};
  for (const auto& line : lines) {
    SCOPED_TRACE(::testing::PrintToString(line));
    const Ran ran = run(line);
    EXPECT_EQ(ran.exit_code, 2) << ran.out << ran.err;
    EXPECT_THAT(ran.err, StartsWith("handback: "));
  }
  EXPECT_THAT(run({"ls"}).err, HasSubstr("see 'handback ls --help'"));
  EXPECT_THAT(run({"put", "volume", "only-one"}).err, HasSubstr("where to"));
}

TEST_F(BadArguments, HelpOfEveryCommandHasUsageAndExamples) {
  const Ran help = run({"--help"});
  EXPECT_RAN(help);
  EXPECT_THAT(help.out, HasSubstr("Exit codes:"));
  for (const char* command :
       {"format", "put", "get", "cat", "ls", "stat", "df", "mkdir", "mv", "rm", "check", "trace"}) {
    SCOPED_TRACE(command);
    const Ran ran = run({command, "--help"});
    EXPECT_RAN(ran);
    EXPECT_THAT(ran.out, HasSubstr(std::string("Usage: handback ") + command));
    EXPECT_THAT(ran.out, HasSubstr("Example"));
    EXPECT_THAT(help.out, HasSubstr(std::string("\n  ") + command + " "));
  }
  for (const char* benchmark : {"completions", "overwrite"})
    EXPECT_THAT(run({"bench", benchmark, "--help"}).out, HasSubstr("Examples:"));
}

TEST_F(BadArguments, ANameThatIsAlsoACommandIsAName) {
  const std::string image = make_volume();
  EXPECT_RAN(run({"mkdir", image, "ls", "put"}));
  EXPECT_EQ(run({"ls", image}).out, "ls/\nput/\n");
}

TEST_F(BadArguments, SizesOfNothingTooLittleAndTooMuchMakeNoFile) {
  const std::vector<std::pair<std::string, std::string>> sizes{
      {"0", "too small"},
      {"4095", "too small"},
      {"3M", "too small"},
      {"1E", "too large"},
      {"99999999999999999999", "not a size"},
      {"-1", "not a size"},
      {"1.5.5M", "not a size"},
      {"0x1000", "not a size"}};
  for (const auto& [size, word] : sizes) {
    const Ran ran = run({"format", path("new.img"), "--size=" + size});
    EXPECT_EQ(ran.exit_code, 2) << size << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(word)) << size;
    EXPECT_FALSE(exists(path("new.img"))) << size;
  }
  // Within the format's limits, beyond this disk's.
  const Ran ran = run({"format", path("new.img"), "--size", "900T"});
  EXPECT_EQ(ran.exit_code, 5) << ran.err;
  EXPECT_FALSE(exists(path("new.img")));
}

TEST_F(BadArguments, FormatSaysWhatANewFileNeeds) {
  const Ran no_size = run({"format", path("new.img")});
  EXPECT_EQ(no_size.exit_code, 2);
  EXPECT_THAT(no_size.err, HasSubstr("does not exist; give --size"));
  EXPECT_EQ(run({"format", path("no/folder/new.img"), "--size", "8M"}).exit_code, 1);
  write_file(path("empty"), "");
  expect_refused(path("empty"), {"format", path("empty"), "--size", "8M"}, 1, {"is an empty file"});
  const Ran long_label =
      run({"format", path("new.img"), "--size", "8M", "--label", std::string(64, 'x')});
  EXPECT_EQ(long_label.exit_code, 1);
  EXPECT_THAT(long_label.err, HasSubstr("at most 63 bytes"));
  EXPECT_FALSE(exists(path("new.img")));
}

TEST_F(BadArguments, FormatErasesNothingWithoutForce) {
  const std::string image = make_volume();
  expect_refused(image, {"format", image}, 1, {"holds a volume", "--force"});
  expect_refused(image, {"format", image, "--size", "16M"}, 2, {"--size is for new files"});
  write_file(path("photo"), scrambled(8U << 20));
  expect_refused(path("photo"), {"format", path("photo")}, 1, {"is not empty", "8 MiB", "--force"});
  write_file(path("tiny"), "tiny");
  expect_refused(path("tiny"), {"format", path("tiny"), "--force"}, 1, {"make it larger"});
  write_file(path("small"), scrambled((4U << 20) - 4096));
  expect_refused(path("small"), {"format", path("small"), "--force"}, 1, {"at least"});
}

TEST_F(BadArguments, NamesThatAreTooLongAreRefused) {
  const std::string image = make_volume();
  write_file(path("a"), "a");
  const std::string long_name = "/" + std::string(300, 'n');
  expect_refused(image, {"mkdir", image, long_name}, 5, {"255"});
  expect_refused(image, {"mkdir", "-p", image, long_name + "/below"}, 5, {"255"});
  expect_refused(image, {"put", image, path("a"), long_name}, 5, {"255"});
  EXPECT_RAN(run({"mkdir", image, "/" + std::string(255, 'n')}));
  expect_refused(image, {"mkdir", image, "/" + std::string(256, 'n')}, 5, {"255"});
  expect_refused(image, {"mv", image, "/" + std::string(255, 'n'), "/" + std::string(256, 'n')}, 5,
                 {"255"});
  EXPECT_RAN(run({"check", image}));
}

// A NUL cannot come through a command line, and a separator never reaches a name.
TEST_F(BadArguments, NamesWithAMeaningOfTheirOwnAreRefused) {
  const std::string image = make_volume();
  write_file(path("a"), "a");
  for (const char* name : {"/.", "/..", "/a/../b", "/./a", "..", "."}) {
    expect_refused(image, {"mkdir", image, name}, 1, {name});
    expect_refused(image, {"put", image, path("a"), name}, 1, {});
    expect_refused(image, {"rm", "-r", image, name}, 1, {});
    expect_refused(image, {"mv", image, "/", name}, 1, {});
    expect_refused(image, {"get", image, name, path("x")}, 1, {});
  }
  EXPECT_RAN(run({"check", image}));
}

TEST_F(BadArguments, SeparatorsInExcessMeanNothing) {
  const std::string image = make_volume();
  EXPECT_RAN(run({"mkdir", image, "//a///b", "-p"}));
  EXPECT_RAN(run({"mkdir", image, "c/"}));
  EXPECT_EQ(run({"ls", "-R", image, "///"}).out, "/a/\n/a/b/\n/c/\n");
}

TEST_F(BadArguments, CommandsOnTheWrongKindOfThingSayWhy) {
  const std::string image = make_volume();
  write_file(path("a"), "a");
  EXPECT_RAN(run({"put", image, path("a"), "/file"}));
  EXPECT_RAN(run({"mkdir", "-p", image, "/dir/sub"}));
  expect_refused(image, {"cat", image, "/missing"}, 1, {"/missing"});
  expect_refused(image, {"cat", image, "/dir"}, 1, {"/dir", "directory"});
  expect_refused(image, {"ls", image, "/file/below"}, 1, {"/file"});
  expect_refused(image, {"stat", image, "/missing"}, 1, {"/missing"});
  expect_refused(image, {"get", image, "/missing", path("x")}, 1, {"/missing"});
  EXPECT_FALSE(exists(path("x")));
  expect_refused(image, {"mkdir", image, "/dir"}, 1, {"/dir"});
  expect_refused(image, {"mkdir", image, "/missing/dir"}, 1, {"/missing"});
  expect_refused(image, {"mkdir", "-p", image, "/file/dir"}, 1, {"/file"});
  expect_refused(image, {"rm", image, "/dir"}, 1, {"-r"});
  expect_refused(image, {"rm", image, "/missing"}, 1, {"/missing"});
  expect_refused(image, {"rm", "-r", image, "/"}, 1, {"root"});
  expect_refused(image, {"mv", image, "/dir", "/dir/sub"}, 1, {"/dir"});
  expect_refused(image, {"mv", image, "/missing", "/x"}, 1, {"/missing"});
  expect_refused(image, {"mv", image, "/dir", "/file"}, 1, {"/file"});
  expect_refused(image, {"put", image, path("missing"), "/x"}, 1, {"missing", "No such file"});
  expect_refused(image, {"put", image, path("a"), "/file/below"}, 1, {"/file"});
}

TEST_F(BadArguments, AFullVolumeIsFoundOutBeforeAnythingChanges) {
  const std::string image = make_volume("vol.img", "8M");
  write_file(path("tree/a"), "a");
  write_file(path("tree/large"), scrambled(9U << 20));
  expect_refused(image, {"put", image, path("tree"), "/tree"}, 5, {"no space", "9.0 MiB", "free"});
  EXPECT_EQ(run({"ls", image}).out, "");
  write_file(path("fits"), scrambled(6U << 20));
  EXPECT_RAN(run({"put", image, path("fits"), "/fits"}));
  expect_refused(image, {"put", image, path("fits"), "/again"}, 5, {"no space"});
  EXPECT_TRUE(run({"cat", image, "/fits"}).out == read_file(path("fits")));
  EXPECT_RAN(run({"check", image}));
}

TEST_F(BadArguments, TooManyNamesAreRefusedWithoutDamage) {
  const std::string image = make_volume("vol.img", "4M");
  // Names of 255 bytes fill the metadata area long before the data area.
  for (int i = 0; i < 1000; ++i) {
    write_file(path("tree/" + std::to_string(100'000 + i) + std::string(249, 'n')), "");
  }
  const Ran ran = run({"put", image, path("tree"), "/tree"});
  EXPECT_EQ(ran.exit_code, 5) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("metadata area is full"));
  EXPECT_RAN(run({"check", image}));
  EXPECT_RAN(run({"rm", "-r", image, "/tree"}));
  EXPECT_RAN(run({"mkdir", image, "/again"}));
  EXPECT_RAN(run({"check", image}));
}

TEST_F(BadArguments, ADeviceInUseIsNamedWithItsHolder) {
  const std::string image = make_volume();
  const std::string holder = "process " + std::to_string(getpid());
  {
    const auto held = handback::open_host_device(image);
    ASSERT_TRUE(held) << held.error().message();
    for (const auto& line : std::vector<std::vector<std::string>>{{"ls", image},
                                                                  {"check", image},
                                                                  {"mkdir", image, "/x"},
                                                                  {"format", image, "--force"}}) {
      expect_refused(image, line, 4, {image, holder});
    }
  }
  handback::HostDeviceOptions reading;
  reading.read_only = true;
  const auto shared = handback::open_host_device(image, reading);
  ASSERT_TRUE(shared) << shared.error().message();
  EXPECT_RAN(run({"ls", image}));
  expect_refused(image, {"mkdir", image, "/x"}, 4, {holder});
}

TEST_F(BadArguments, AFileThatMayOnlyBeReadIsReadAndNotWritten) {
  if (geteuid() != 0) GTEST_SKIP() << "gives up root, so it needs it";
  const std::string image = make_volume();
  chmod(image.c_str(), 0444);
  const RunOptions as_nobody{.as_nobody = true};
  const Ran ls = run({"ls", image}, as_nobody);
  if (ls.exit_code == 127) GTEST_SKIP() << "the program lies where nobody may not run it";
  EXPECT_RAN(ls);
  expect_refused(image, {"mkdir", image, "/x"}, 1, {image, "ermission"}, as_nobody);
  expect_refused(image, {"format", image, "--force"}, 1, {image, "ermission"}, as_nobody);
  chmod(image.c_str(), 0400);
  expect_refused(image, {"ls", image}, 1, {image, "ermission"}, as_nobody);
}

}  // namespace
}  // namespace tool::testing
