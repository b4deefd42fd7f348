#include <gtest/gtest.h>
#include <handback/host_device.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <vector>

#include "ring/test_files.h"

namespace handback {
namespace {

class CreateHostFile : public ::testing::Test {
 protected:
  void expect_fails(const std::string& path, std::uint64_t size_bytes, Errc code,
                    const ByteProgress& progress = nullptr) {
    const auto made = create_host_file(path, size_bytes, progress);
    ASSERT_FALSE(made);
    EXPECT_EQ(errc_name(made.error().code()), errc_name(code)) << made.error().message();
    EXPECT_NE(made.error().message().find(path), std::string::npos) << made.error().message();
  }

  testing::TempFolder folder_;
  const std::string path_ = folder_.file("new");
};

TEST_F(CreateHostFile, MakesAFileOfZerosOfExactlyThatSize) {
  for (const std::uint64_t size : {std::uint64_t{1}, std::uint64_t{4096}, std::uint64_t{10'000},
                                   (std::uint64_t{8} << 20), (std::uint64_t{9} << 20) + 4097}) {
    const auto made = create_host_file(path_, size);
    ASSERT_TRUE(made) << made.error().message();
    std::ifstream in(path_, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    EXPECT_EQ(bytes.size(), size);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; }));
    std::filesystem::remove(path_);
  }
}

TEST_F(CreateHostFile, LeavesNoExtentToBeConvertedLater) {
  ASSERT_TRUE(create_host_file(path_, 20U << 20));
  const UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<std::byte> room(sizeof(fiemap) + 64 * sizeof(fiemap_extent));
  auto* const map = reinterpret_cast<fiemap*>(room.data());
  map->fm_length = ~0ULL;
  map->fm_extent_count = 64;
  if (::ioctl(fd.get(), FS_IOC_FIEMAP, map) != 0) {
    GTEST_SKIP() << "the file system of " << path_ << " does not list extents";
  }
  EXPECT_GT(map->fm_mapped_extents, 0U);
  const auto* const extents = reinterpret_cast<const fiemap_extent*>(map + 1);
  for (unsigned i = 0; i < map->fm_mapped_extents; ++i) {
    EXPECT_EQ(extents[i].fe_flags & (FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_DELALLOC), 0U);
  }
}

TEST_F(CreateHostFile, NeverOverwrites) {
  std::ofstream(path_) << "precious";
  expect_fails(path_, 4096, Errc::exists);
  EXPECT_EQ(std::filesystem::file_size(path_), 8U);
  const std::string link = folder_.file("link");
  std::filesystem::create_symlink(folder_.file("nowhere"), link);
  expect_fails(link, 4096, Errc::exists);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("nowhere")));
  expect_fails(folder_.path(), 4096, Errc::exists);
}

TEST_F(CreateHostFile, RefusesImpossibleSizesBeforeAnythingChanges) {
  expect_fails(path_, 0, Errc::invalid);
  struct statvfs space {};
  ASSERT_EQ(::statvfs(folder_.path().c_str(), &space), 0);
  expect_fails(path_, (space.f_bfree + 1) * space.f_frsize + (1ULL << 30), Errc::no_space);
  expect_fails(path_, ~std::uint64_t{0}, Errc::no_space);
  EXPECT_TRUE(folder_.is_empty());
}

TEST_F(CreateHostFile, LeavesNothingBehindWhenTheHostRefusesTheSize) {
  // The limit of this process stands in for a disk that fills up meanwhile.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limited{4U << 20, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);
  expect_fails(path_, 16U << 20, Errc::too_large);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(folder_.is_empty());
}

TEST_F(CreateHostFile, ReportsProgressUpToTheEnd) {
  constexpr std::uint64_t size = (20U << 20) + 12;
  std::uint64_t last = 0;
  const auto made = create_host_file(path_, size, [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GT(done, last);
    EXPECT_EQ(total, size);
    last = done;
    return true;
  });
  EXPECT_TRUE(made);
  EXPECT_EQ(last, size);
}

TEST_F(CreateHostFile, LeavesNothingBehindWhenStopped) {
  unsigned calls = 0;
  expect_fails(path_, 32U << 20, Errc::canceled,
               [&](std::uint64_t, std::uint64_t) { return ++calls < 2; });
  EXPECT_EQ(calls, 2U);
  EXPECT_TRUE(folder_.is_empty());
}

TEST_F(CreateHostFile, DoesNotRemoveAFileThatTookThePlaceOfItsOwn) {
  expect_fails(path_, 16U << 20, Errc::canceled, [&](std::uint64_t, std::uint64_t) {
    std::filesystem::rename(path_, folder_.file("moved"));
    std::ofstream(path_) << "another";
    return false;
  });
  EXPECT_EQ(std::filesystem::file_size(path_), 7U);
}

TEST_F(CreateHostFile, NamesAMissingFolderAndAFileUsedAsOne) {
  expect_fails(folder_.file("no/such/folder"), 4096, Errc::not_found);
  std::ofstream(path_) << "a file";
  expect_fails(path_ + "/below", 4096, Errc::not_a_directory);
}

TEST_F(CreateHostFile, IsHeldWhileItIsMade) {
  const auto made = create_host_file(path_, 1U << 20, [&](std::uint64_t, std::uint64_t) {
    const auto opened = open_host_device(path_);
    EXPECT_EQ(opened ? Errc::ok : opened.error().code(), Errc::busy);
    return true;
  });
  EXPECT_TRUE(made);
  EXPECT_TRUE(open_host_device(path_));
}

TEST_F(CreateHostFile, WorksInAFileSystemInMemory) {
  const std::string path = "/dev/shm/handback_test_" + std::to_string(::getpid());
  if (!std::filesystem::is_directory("/dev/shm")) GTEST_SKIP() << "this host has no /dev/shm";
  const auto made = create_host_file(path, 1U << 20);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(std::filesystem::file_size(path), 1U << 20);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace handback
