#include "ring/file_lock.h"

#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ring/test_files.h"

namespace handback {
namespace {

TEST(LockHolders, AreFoundByDeviceAndInode) {
  constexpr std::string_view locks =
      "1: POSIX  ADVISORY  WRITE 11 fe:00:1234 0 EOF\n"
      "2: FLOCK  ADVISORY  WRITE 12 fe:00:1234 0 EOF\n"
      "2: -> FLOCK  ADVISORY  WRITE 13 fe:00:1234 0 EOF\n"
      "3: FLOCK  ADVISORY  READ  14 fe:01:1234 0 EOF\n"
      "4: FLOCK  ADVISORY  READ  15 00:2a:99 0 EOF\n"
      "4: FLOCK  ADVISORY  READ  16 00:2a:99 0 EOF\n"
      "5: FLOCK  ADVISORY  WRITE 0 00:2a:77 0 EOF\n"
      "6: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 EOF";
  using Pids = std::vector<pid_t>;
  EXPECT_EQ(parse_lock_holders(locks, {0xfe, 0, 1234}), Pids{12});
  EXPECT_EQ(parse_lock_holders(locks, {0xfe, 1, 1234}), Pids{14});
  EXPECT_EQ(parse_lock_holders(locks, {0, 0x2a, 99}), (Pids{15, 16}));
  EXPECT_EQ(parse_lock_holders(locks, {0, 0x2a, 77}), Pids{});  // Of another pid namespace.
  EXPECT_EQ(parse_lock_holders(locks, {0xfe, 0, 123}), Pids{});
}

TEST(LockHolders, NonsenseNamesNobody) {
  for (const std::string_view locks :
       {"", "\n\n", "1:", "1: FLOCK", "1: FLOCK ADVISORY WRITE",
        "1: FLOCK ADVISORY WRITE x fe:00:1 0 EOF", "1: FLOCK ADVISORY WRITE 12 fe:00 0 EOF",
        "1: FLOCK ADVISORY WRITE 12 fe:00:1x 0 EOF", "1: FLOCK ADVISORY WRITE 12 :: 0 EOF",
        "1: FLOCK ADVISORY WRITE 12"}) {
    EXPECT_TRUE(parse_lock_holders(locks, {0xfe, 0, 1}).empty()) << locks;
  }
}

TEST(FileLock, SaysSoWhenTheHostDoesNotNameTheHolder) {
  testing::TempFolder folder;
  const std::string path = folder.file("file");
  const UniqueFd holder(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const UniqueFd other(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::flock(holder.get(), LOCK_EX), 0);
  const LockedFile wrong_file{0, 0, 0};  // Nobody holds that one.
  const auto locked =
      lock_file(other.get(), LockMode::exclusive, wrong_file, path, DeadHolderWait(1'000'000));
  ASSERT_FALSE(locked);
  EXPECT_EQ(locked.error().code(), Errc::busy);
  EXPECT_NE(locked.error().message().find("does not name"), std::string::npos);
  unlock_file(holder.get());
  EXPECT_TRUE(lock_file(other.get(), LockMode::exclusive, wrong_file, path, DeadHolderWait(0)));
}

}  // namespace
}  // namespace handback
