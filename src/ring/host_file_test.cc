// Opening host files and devices: every way it can be refused, and who owns what.
#include "ring/host_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <handback/host_device.h>
#include <linux/fs.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <thread>

#include "block/queue_driver.h"
#include "ring/block_sysfs.h"
#include "ring/test_files.h"

namespace handback::testing {
namespace {

// A process that runs `body` and then waits to be killed. The parent goes on when the body is
// through.
class Child {
 public:
  explicit Child(const std::function<void()>& body) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    const pid_t pid = ::fork();
    if (pid < 0) throw std::runtime_error("cannot fork");
    pid_ = pid;
    if (pid == 0) {
      body();
      [[maybe_unused]] const auto written = ::write(ready[1], "x", 1);
      for (;;)
        ::pause();
    }
    ::close(ready[1]);
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1) << "the child ended too early";
    ::close(ready[0]);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { end(); }

  [[nodiscard]] pid_t pid() const { return pid_; }

  // Kills the child and waits until it is gone. Once: to kill(), a pid of -1 means every process
  // there is.
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
};

class OpenHostDevice : public ::testing::Test {
 protected:
  static HostDeviceOptions reading() {
    HostDeviceOptions options;
    options.read_only = true;
    return options;
  }

  // The message.
  static std::string expect_fails(const std::string& path, Errc code,
                                  const HostDeviceOptions& options = {}) {
    const auto opened = open_host_device(path, options);
    EXPECT_FALSE(opened) << path;
    if (opened) return {};
    EXPECT_EQ(errc_name(opened.error().code()), errc_name(code)) << opened.error().message();
    EXPECT_NE(opened.error().message().find(path), std::string::npos) << opened.error().message();
    return opened.error().message();
  }

  static bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  TempFolder folder_;
  const std::string path_ = folder_.file("device");
};

TEST_F(OpenHostDevice, RefusesWhatIsNoDevice) {
  expect_fails(path_, Errc::not_found);
  expect_fails(folder_.path(), Errc::is_a_directory);
  std::ofstream(path_).flush();
  EXPECT_TRUE(contains(expect_fails(path_, Errc::invalid), "empty"));
  expect_fails(path_ + "/below", Errc::not_a_directory);
  const std::string fifo = folder_.file("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  expect_fails(fifo, Errc::invalid);
  expect_fails(fifo, Errc::invalid, reading());
  expect_fails("/dev/null", Errc::invalid);
  std::ofstream(folder_.file("tiny")) << "less than a block";
  expect_fails(folder_.file("tiny"), Errc::invalid);
}

TEST_F(OpenHostDevice, RefusesImpossibleOptions) {
  make_file(path_, 1U << 20);
  HostDeviceOptions options;
  for (const unsigned depth : {0U, 4097U}) {
    options.queue_depth = depth;
    const auto opened = open_host_device(path_, options);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), Errc::invalid);
  }
  options.queue_depth = 4096;
  for (const unsigned threads : {0U, 1025U}) {
    options.threads = threads;
    const auto opened = open_host_device(path_, options);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), Errc::invalid);
  }
}

TEST_F(OpenHostDevice, RefusesAFileThatThisUserMayNotWrite) {
  make_file(path_, 1U << 20);
  ASSERT_EQ(::chmod(path_.c_str(), 0444), 0);
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  // Root may write everything, but not as somebody else.
  const bool root = ::geteuid() == 0;
  constexpr uid_t nobody = 65534;
  if (root) ::setfsuid(nobody);
  expect_fails(path_, Errc::permission);
  EXPECT_TRUE(open_host_device(path_, reading()));
  if (root) ::setfsuid(0);
  ASSERT_EQ(::chmod(path_.c_str(), 0), 0);
  if (root) ::setfsuid(nobody);
  expect_fails(path_, Errc::permission, reading());
  if (root) ::setfsuid(0);
}

TEST_F(OpenHostDevice, RoundsTheSizeDownToWholeBlocks) {
  make_file(path_, (1U << 20) + 100);
  const auto opened = open_host_device(path_);
  ASSERT_TRUE(opened) << opened.error().message();
  const Geometry& geometry = (*opened)->geometry();
  EXPECT_EQ(geometry.size_bytes, 1U << 20);
  EXPECT_TRUE(geometry.volatile_cache);
  EXPECT_TRUE(geometry.stores_data);
  EXPECT_EQ((*opened)->name(), path_);
}

TEST_F(OpenHostDevice, FollowsSymbolicLinks) {
  make_file(path_, 1U << 20);
  const std::string link = folder_.file("link");
  std::filesystem::create_symlink(path_, link);
  const auto opened = open_host_device(link);
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_TRUE(contains(expect_fails(path_, Errc::busy), "this process"));
}

TEST_F(OpenHostDevice, HasOneOwnerOrSeveralReaders) {
  make_file(path_, 1U << 20);
  {
    const auto owner = open_host_device(path_);
    ASSERT_TRUE(owner);
    EXPECT_TRUE(contains(expect_fails(path_, Errc::busy), "this process"));
    expect_fails(path_, Errc::busy, reading());
  }
  {
    const auto reader = open_host_device(path_, reading());
    ASSERT_TRUE(reader);
    EXPECT_TRUE((*reader)->geometry().read_only);
    EXPECT_TRUE(open_host_device(path_, reading()));
    EXPECT_TRUE(contains(expect_fails(path_, Errc::busy), "this process"));
  }
  EXPECT_TRUE(open_host_device(path_));
}

TEST_F(OpenHostDevice, NamesTheProcessThatHoldsIt) {
  make_file(path_, 1U << 20);
  std::unique_ptr<BlockDevice> held;
  Child child([&] {
    auto opened = open_host_device(path_);
    if (!opened) ::_exit(1);
    held = std::move(*opened);
  });
  std::string name;
  std::getline(std::ifstream("/proc/" + std::to_string(child.pid()) + "/comm"), name);
  const std::string holder = "process " + std::to_string(child.pid()) + " (" + name + ")";
  EXPECT_TRUE(contains(expect_fails(path_, Errc::busy), holder));
  EXPECT_TRUE(contains(expect_fails(path_, Errc::busy, reading()), holder));
  child.end();
  EXPECT_TRUE(open_host_device(path_));
}

// Where the disk below has none, RWF_DSYNC is a flush for each write, and one for all is shorter.
TEST_F(OpenHostDevice, AFileHasFuaUnlessItsDiskNeedsAFlush) {
  make_file(path_, 1U << 20);
  struct stat status {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  const bool needs_flush = block_attribute(status.st_dev, "queue/fua") == "0" &&
                           block_attribute(status.st_dev, "queue/write_cache") != "write through";
  const auto opened = open_host_device(path_);
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ((*opened)->geometry().fua, !needs_flush);
}

TEST_F(OpenHostDevice, TakesOverFromAProcessKilledWithWritesInFlight) {
  make_file(path_, 16U << 20);
  for (unsigned round = 0; round < 5; ++round) {
    std::unique_ptr<BlockDevice> device;
    std::unique_ptr<BlockQueue> queue;
    TestMemory memory(16U << 20);
    std::vector<Bio> bios(16);
    Child child([&] {
      auto opened = open_host_device(path_);
      if (!opened) ::_exit(1);
      device = std::move(*opened);
      queue = std::move(*device->open_queue(-1));
      for (std::size_t i = 0; i < bios.size(); ++i) {
        bios[i].op = BioOp::write;
        bios[i].fua = device->geometry().fua;
        bios[i].addr = i << 20;
        bios[i].add_segment(memory.data() + (i << 20), 1U << 20);
        bios[i].end_io = [](Bio&) noexcept {};
        queue->submit(&bios[i]);
      }
      queue->kick();
    });
    child.end();
    const auto opened = open_host_device(path_);
    EXPECT_TRUE(opened) << opened.error().message();
  }
}

TEST_F(OpenHostDevice, WaitsForWhatADeadHolderLeftOpen) {
  make_file(path_, 1U << 20);
  int gate[2];
  ASSERT_EQ(::pipe(gate), 0);
  {
    // The holder passes its open file on to an heir and dies; the lock stays, in the name of the
    // dead.
    Child holder([&] {
      auto opened = open_host_device(path_);
      if (!opened) ::_exit(1);
      if (::fork() == 0) {
        ::close(gate[1]);
        char byte = 0;
        [[maybe_unused]] const auto got = ::read(gate[0], &byte, 1);
        ::_exit(0);
      }
      [[maybe_unused]] auto* const leaked = opened->release();
    });
  }
  // Whether the gate opens before, while or after the other thread waits, it must get the file.
  std::thread opener([&] {
    const auto opened = open_host_device(path_);
    EXPECT_TRUE(opened) << opened.error().message();
  });
  ::close(gate[0]);
  ::close(gate[1]);
  opener.join();
}

TEST_F(OpenHostDevice, ABlockDeviceHasOneOwnerToo) {
  make_file(path_, 4U << 20);
  auto loop = LoopDevice::attach(path_);
  if (!loop) GTEST_SKIP() << loop.error();
  const std::string device = (*loop)->path();
  for (unsigned round = 0; round < 3; ++round) {
    const auto opened = open_host_device(device);
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ((*opened)->geometry().size_bytes, 4U << 20);
    EXPECT_TRUE(contains(expect_fails(device, Errc::busy), "this process"));
    // With an open queue, whose ring is taken apart some time after it was closed.
    QueueDriver driver(**opened);
    EXPECT_EQ(driver.flush(), IoResult::success(0));
  }
  const auto reader = open_host_device(device, reading());
  ASSERT_TRUE(reader) << reader.error().message();
  EXPECT_TRUE(open_host_device(device, reading()));
}

TEST_F(OpenHostDevice, ABlockDeviceTellsOfItsCache) {
  make_file(path_, 4U << 20);
  auto loop = LoopDevice::attach(path_);
  if (!loop) GTEST_SKIP() << loop.error();
  struct stat status {};
  ASSERT_EQ(::stat((*loop)->path().c_str(), &status), 0);
  const std::string cache = block_attribute(status.st_rdev, "queue/write_cache");
  ASSERT_TRUE(cache == "write back" || cache == "write through") << cache;
  const auto opened = open_host_device((*loop)->path());
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ((*opened)->geometry().volatile_cache, cache == "write back");
  EXPECT_TRUE((*opened)->geometry().fua);
}

TEST_F(OpenHostDevice, ABlockDeviceTellsOfItsBlocks) {
  make_file(path_, (4U << 20) + 4096 + 512);
  for (const unsigned bytes : {512U, 4096U}) {
    auto loop = LoopDevice::attach(path_, bytes);
    if (!loop) GTEST_SKIP() << loop.error();
    const auto opened = open_host_device((*loop)->path());
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ((*opened)->geometry().logical_block_bytes, bytes);
    EXPECT_EQ((*opened)->geometry().size_bytes, (4U << 20) + 4096 + (bytes == 512 ? 512 : 0));
  }
}

TEST_F(OpenHostDevice, AReadOnlyBlockDeviceSaysSo) {
  make_file(path_, 4U << 20);
  auto loop = LoopDevice::attach(path_);
  if (!loop) GTEST_SKIP() << loop.error();
  const UniqueFd fd(::open((*loop)->path().c_str(), O_RDONLY | O_CLOEXEC));
  const int on = 1;
  ASSERT_EQ(::ioctl(fd.get(), BLKROSET, &on), 0);
  expect_fails((*loop)->path(), Errc::read_only);
  EXPECT_TRUE(open_host_device((*loop)->path(), reading()));
  const int off = 0;
  ::ioctl(fd.get(), BLKROSET, &off);
}

TEST(BlockSysfs, KnowsWhereAFileSystemIsMounted) {
  struct stat status {};
  ASSERT_EQ(::stat("/proc", &status), 0);
  EXPECT_EQ(block_device_user(status.st_dev), "mounted at /proc");
  EXPECT_EQ(block_device_user(0), "");
  EXPECT_EQ(block_attribute(0, "queue/write_cache"), "");
}

// A file whose file system refuses O_DIRECT, and gives less than the size it tells of: any of the
// kernel's.
constexpr const char* kernel_text = "/sys/devices/system/cpu/online";

TEST_F(OpenHostDevice, UsesThePageCacheWhereThereIsNoDirectIoAndSaysSoOnce) {
  if (::access(kernel_text, R_OK) != 0) GTEST_SKIP() << "this host has no " << kernel_text;
  forget_notices();
  std::vector<std::string> notices;
  HostDeviceOptions options = reading();
  options.notice = [&](std::string_view text) { notices.emplace_back(text); };
  for (unsigned i = 0; i < 3; ++i) {
    const auto opened = open_host_device(kernel_text, options);
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ((*opened)->geometry().logical_block_bytes, 512U);
    EXPECT_EQ((*opened)->geometry().memory_alignment_bytes, 1U);
  }
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_TRUE(contains(notices[0], kernel_text)) << notices[0];
  EXPECT_TRUE(contains(notices[0], "page cache")) << notices[0];
}

}  // namespace
}  // namespace handback::testing
