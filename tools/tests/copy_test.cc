// put and get: where copies go, what is left out, and that a stopped copy is completed by the same
// command.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::HasSubstr;

class Copy : public ProgramTest {
 protected:
  static std::string listing(const std::string& image) { return run({"ls", "-R", image}).out; }
  static nlohmann::json put_json(const std::string& image, const std::string& source,
                                 const std::string& target) {
    const Ran ran = run({"put", image, source, target, "--json"});
    EXPECT_EQ(ran.exit_code, 0) << ran.err;
    return nlohmann::json::parse(ran.out);
  }
};

TEST_F(Copy, ADirectoryBecomesTheDestinationAgainAndAgain) {
  const std::string image = make_volume();
  write_file(path("tree/a"), "a");
  for (int i = 0; i < 2; ++i) {
    EXPECT_RAN(run({"put", image, path("tree"), "/copy"}));
    EXPECT_EQ(listing(image), "/copy/\n/copy/a\n");
    EXPECT_RAN(run({"get", image, "/copy", path("back")}));
    EXPECT_EQ(read_file(path("back/a")), "a");
    EXPECT_FALSE(exists(path("back/copy")));
  }
}

TEST_F(Copy, ADestinationThatEndsInASlashTakesCopiesUnderTheirNames) {
  const std::string image = make_volume();
  write_file(path("tree/a"), "a");
  EXPECT_RAN(run({"put", image, path("tree"), "/into/"}));
  EXPECT_RAN(run({"put", image, path("tree") + "/", path("tree/a"), "/both"}));
  EXPECT_EQ(listing(image),
            "/both/\n/both/a\n/both/tree/\n/both/tree/a\n/into/\n/into/tree/\n/into/tree/a\n");
  EXPECT_RAN(run({"get", image, "/into/tree", path("back") + "/"}));
  EXPECT_EQ(read_file(path("back/tree/a")), "a");
}

TEST_F(Copy, AFilePutOntoADirectoryGoesIntoIt) {
  const std::string image = make_volume();
  write_file(path("a"), "a");
  EXPECT_RAN(run({"mkdir", image, "/dir"}));
  EXPECT_RAN(run({"put", image, path("a"), "/dir"}));
  EXPECT_RAN(run({"put", image, path("a"), "/other-name"}));
  EXPECT_EQ(listing(image), "/dir/\n/dir/a\n/other-name\n");
  std::filesystem::create_directories(path("out"));
  EXPECT_RAN(run({"get", image, "/dir/a", path("out")}));
  EXPECT_EQ(read_file(path("out/a")), "a");
}

TEST_F(Copy, TheWholeVolumeIsGotByItsRoot) {
  const std::string image = make_volume();
  write_file(path("a"), "a");
  EXPECT_RAN(run({"put", image, path("a"), "/x/a"}));
  EXPECT_RAN(run({"get", image, "/", path("all")}));
  EXPECT_EQ(read_file(path("all/x/a")), "a");
}

TEST_F(Copy, FilesThatAreThereAlreadyAreLeftAlone) {
  const std::string image = make_volume();
  write_file(path("tree/a"), scrambled(100'000, 1));
  write_file(path("tree/b"), scrambled(50'000, 2));
  put_json(image, path("tree"), "/tree");
  auto again = put_json(image, path("tree"), "/tree");
  EXPECT_EQ(again["files"], 0);
  EXPECT_EQ(again["files_present"], 2);
  EXPECT_EQ(again["requests"], 0);
  // The same size and another time.
  write_file(path("tree/a"), scrambled(100'000, 3));
  set_mtime(path("tree/a"), 1'700'000'000'000'000'001);
  again = put_json(image, path("tree"), "/tree");
  EXPECT_EQ(again["files"], 1);
  EXPECT_TRUE(run({"cat", image, "/tree/a"}).out == scrambled(100'000, 3));
  EXPECT_TRUE(run({"cat", image, "/tree/b"}).out == scrambled(50'000, 2));
  EXPECT_RAN(run({"check", image}));
}

TEST_F(Copy, AShorterSourceLeavesNothingOfTheLongerFileBehind) {
  const std::string image = make_volume();
  write_file(path("a"), scrambled(300'000, 1));
  put_json(image, path("a"), "/a");
  write_file(path("a"), scrambled(10, 2));
  put_json(image, path("a"), "/a");
  EXPECT_TRUE(run({"cat", image, "/a"}).out == scrambled(10, 2));
  EXPECT_RAN(run({"check", image}));
}

TEST_F(Copy, AFileThatFillsMostOfTheVolumeCanBeReplaced) {
  const std::string image = make_volume("vol.img", "8M");
  for (const unsigned seed : {1U, 2U}) {
    write_file(path("a"), scrambled(6'000'001, seed));
    set_mtime(path("a"), 1'700'000'000'000'000'000 + seed);
    put_json(image, path("a"), "/a");
    EXPECT_TRUE(run({"cat", image, "/a"}).out == scrambled(6'000'001, seed));
  }
  EXPECT_RAN(run({"check", image}));
}

TEST_F(Copy, AHoleLargerThanAnyDiskIsGotAsAHole) {
  const std::string image = make_volume();
  EXPECT_EQ(run_program(HB_SPARSE_FILE, {image}).exit_code, 0);
  const Ran ran = run({"get", image, "/sparse", path("sparse")});
  EXPECT_RAN(ran);
  struct stat status {};
  ASSERT_EQ(stat(path("sparse").c_str(), &status), 0);
  EXPECT_EQ(status.st_size, (std::int64_t{1} << 40) + 5);
  EXPECT_LE(status.st_blocks * 512, 64 << 10);
  std::ifstream in(path("sparse"), std::ios::binary);
  std::string bytes(4096, 'x');
  in.seekg(1 << 20);
  in.read(bytes.data(), 4096);
  EXPECT_EQ(bytes, std::string(4096, 'h'));
}

TEST_F(Copy, LinksToFilesAreFollowedAndOtherThingsAreNamed) {
  const std::string image = make_volume();
  write_file(path("tree/file"), "content");
  std::filesystem::create_symlink("file", path("tree/link"));
  std::filesystem::create_symlink("nothing", path("tree/broken"));
  std::filesystem::create_symlink("/", path("tree/directory-link"));
  ASSERT_EQ(mkfifo(path("tree/pipe").c_str(), 0600), 0);
  const Ran ran = run({"put", image, path("tree"), "/tree"});
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(listing(image), "/tree/\n/tree/file\n/tree/link\n");
  EXPECT_EQ(run({"cat", image, "/tree/link"}).out, "content");
  EXPECT_THAT(ran.err, HasSubstr("left out 3 paths"));
  EXPECT_THAT(ran.err, HasSubstr("broken: symbolic link to nothing"));
  EXPECT_THAT(ran.err, HasSubstr("directory-link: symbolic link to a directory"));
  EXPECT_THAT(ran.err, HasSubstr("pipe: named pipe"));
}

TEST_F(Copy, TheVolumeIsNotPutIntoItself) {
  const std::string image = make_volume("tree/vol.img");
  write_file(path("tree/a"), "a");
  const Ran ran = run({"put", image, path("tree"), "/tree"});
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.err, HasSubstr("the volume itself"));
  EXPECT_EQ(listing(image), "/tree/\n/tree/a\n");
}

TEST_F(Copy, AnUnreadableFileIsNamedAndTheOthersAreCopied) {
  if (geteuid() != 0) GTEST_SKIP() << "gives up root, so it needs it";
  const std::string image = make_volume();
  chmod(image.c_str(), 0666);
  write_file(path("tree/a"), "a");
  write_file(path("tree/secret"), "s");
  chmod(path("tree/secret").c_str(), 0600);
  write_file(path("tree/z"), "z");
  const Ran ran = run({"put", image, path("tree"), "/tree"}, {.as_nobody = true});
  if (ran.exit_code == 127) GTEST_SKIP() << "the program lies where nobody may not run it";
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.err, HasSubstr("failed on 1 file:"));
  EXPECT_THAT(ran.err, HasSubstr("secret: Permission denied"));
  EXPECT_EQ(listing(image), "/tree/\n/tree/a\n/tree/z\n");
}

TEST_F(Copy, AFileDoesNotReplaceADirectory) {
  const std::string image = make_volume();
  write_file(path("tree/x/y"), "y");
  EXPECT_RAN(run({"put", image, path("tree"), "/tree"}));
  std::filesystem::remove_all(path("tree/x"));
  write_file(path("tree/x"), "now a file");
  const Ran put = run({"put", image, path("tree"), "/tree"});
  EXPECT_EQ(put.exit_code, 1);
  EXPECT_THAT(put.err, HasSubstr("/tree/x is a directory"));
  const Ran get = run({"get", image, "/tree", path("tree")});
  EXPECT_EQ(get.exit_code, 1);
  EXPECT_EQ(read_file(path("tree/x")), "now a file");
}

// A put that stands still in the middle of a tree until something was done to it: the test holds a
// lease on one of the files, and opening it waits for the lease to be given up.
class StoppedCopy : public Copy {
 protected:
  static constexpr int file_count = 2000;

  void SetUp() override {
    write_file(path("probe"), "");
    const int fd = take_lease(path("probe"));
    if (fd < 0) GTEST_SKIP() << "the file system of " << folder() << " grants no leases";
    close(fd);
  }

  // Runs a put of path("tree") and sends it the signal while it waits.
  Ran put_and_signal(const std::string& image, int signal_number) {
    const int lease = take_lease(path("tree/f5"));
    EXPECT_GE(lease, 0);
    RunOptions options;
    options.meanwhile = [lease, signal_number](pid_t pid) {
      // Somebody has come to the file once the lease is said to be on its way out.
      while (fcntl(lease, F_GETLEASE) == F_WRLCK) {
        siginfo_t ended{};
        waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG | WNOWAIT);
        if (ended.si_pid != 0) break;
        poll(nullptr, 0, 1);
      }
      kill(pid, signal_number);
      fcntl(lease, F_SETLEASE, F_UNLCK);
      close(lease);
    };
    return run({"put", image, path("tree"), "/tree"}, options);
  }

  // Less than 0 if there is none.
  static int take_lease(const std::string& file) {
    const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    // The signal that says "give it up" is one that nobody minds.
    if (fcntl(fd, F_SETSIG, SIGURG) == 0 && fcntl(fd, F_SETLEASE, F_WRLCK) == 0) return fd;
    close(fd);
    return -1;
  }

  void write_tree() {
    for (int i = 0; i < file_count; ++i) {
      write_file(path("tree/f" + std::to_string(i)), scrambled(6000, 1));
    }
  }

  void expect_completed_by_another_put(const std::string& image) {
    const Ran check = run({"check", image});
    EXPECT_EQ(check.exit_code, 0) << check.out;
    const Ran again = run({"put", image, path("tree"), "/tree", "--json"});
    ASSERT_EQ(again.exit_code, 0) << again.err;
    const auto json = nlohmann::json::parse(again.out);
    EXPECT_GT(json["files"], 0);
    EXPECT_EQ(json["files"].get<int>() + json["files_present"].get<int>(), file_count);
    EXPECT_RAN(run({"check", image}));
    EXPECT_RAN(run({"get", image, "/tree", path("back")}));
    for (int i = 0; i < file_count; ++i) {
      ASSERT_TRUE(read_file(path("back/f" + std::to_string(i))) == scrambled(6000, 1)) << i;
    }
  }
};

TEST_F(StoppedCopy, CtrlCClosesTheVolumeAndTheSameCommandCompletesTheCopy) {
  const std::string image = make_volume("vol.img", "32M");
  write_tree();
  const Ran ran = put_and_signal(image, SIGINT);
  EXPECT_EQ(ran.exit_code, 130) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("stopped by a signal; the same command again"));
  EXPECT_EQ(run({"ls", image}).err, "") << "it was closed, so there is nothing to recover";
  expect_completed_by_another_put(image);
}

TEST_F(StoppedCopy, AKilledCopyIsCompletedByTheSameCommand) {
  const std::string image = make_volume("vol.img", "32M");
  write_tree();
  EXPECT_EQ(put_and_signal(image, SIGKILL).exit_code, 137);
  expect_completed_by_another_put(image);
}

}  // namespace
}  // namespace tool::testing
