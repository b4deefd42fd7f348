// What both engines of a host device must do beyond the conformance suite, and how one is chosen.
#include <gtest/gtest.h>
#include <handback/host_device.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <thread>

#include "block/queue_driver.h"
#include "ring/notice.h"
#include "ring/test_files.h"
#include "ring/uring_queue.h"

namespace handback::testing {
namespace {

IoResult short_by_the_host(std::uint32_t bytes) {
  return IoResult::failure(Errc::io, IoDetail::none, bytes);
}

class Engine : public ::testing::TestWithParam<HostEngine> {
 protected:
  void open(std::uint64_t size_bytes) {
    make_file(path_, size_bytes);
    HostDeviceOptions options;
    options.engine = GetParam();
    auto opened = open_host_device(path_, options);
    ASSERT_TRUE(opened) << opened.error().message();
    device_ = std::move(*opened);
  }

  TempFolder folder_;
  const std::string path_ = folder_.file("device");
  std::unique_ptr<BlockDevice> device_;
};

TEST_P(Engine, TellsItsName) {
  open(1U << 20);
  EXPECT_EQ(host_engine_name(*device_), GetParam() == HostEngine::threads ? "threads" : "io_uring");
}

TEST_P(Engine, TellsItsNameWithoutADeadlineToo) {
  make_file(path_, 1U << 20);
  HostDeviceOptions options;
  options.engine = GetParam();
  options.deadline_ms = 0;
  const auto device = open_host_device(path_, options);
  ASSERT_TRUE(device) << device.error().message();
  EXPECT_EQ(host_engine_name(**device), GetParam() == HostEngine::threads ? "threads" : "io_uring");
}

TEST_P(Engine, AReadBeyondTheEndOfAFileThatShrankKeepsWhatItGot) {
  open(1U << 20);
  QueueDriver driver(*device_);
  TestMemory written(64U << 10);
  TestMemory memory(64U << 10);
  written.fill(1);
  ASSERT_EQ(driver.run(BioOp::write, 0, written.data(), written.size()),
            IoResult::success(64U << 10));
  ASSERT_EQ(::truncate(path_.c_str(), 12288), 0);
  EXPECT_EQ(driver.run(BioOp::read, 0, memory.data(), 64U << 10), short_by_the_host(12288));
  EXPECT_EQ(std::memcmp(memory.data(), written.data(), 12288), 0);
  EXPECT_EQ(driver.run(BioOp::read, 16384, memory.data(), 4096), short_by_the_host(0));
  EXPECT_EQ(driver.run(BioOp::read, 8192, memory.data(), 4096), IoResult::success(4096));
  // Several segments; the file ends inside the second.
  std::memset(memory.data(), 0, memory.size());
  TestBio& several = driver.bio(BioOp::read, 0, memory.data() + 32768, 8192);
  several.add_segment(memory.data(), 16384);
  several.add_segment(memory.data() + 16384, 4096);
  EXPECT_EQ(driver.run(several), short_by_the_host(12288));
  EXPECT_EQ(std::memcmp(memory.data() + 32768, written.data(), 8192), 0);
  EXPECT_EQ(std::memcmp(memory.data(), written.data() + 8192, 4096), 0);
}

TEST_P(Engine, ATransferIntoMemoryThatIsNotThereFailsWithTheHostsErrno) {
  open(1U << 20);
  QueueDriver driver(*device_);
  for (const BioOp op : {BioOp::read, BioOp::write}) {
    const IoResult result = driver.run(op, 0, reinterpret_cast<void*>(4096), 4096);
    EXPECT_EQ(result, IoResult::host_failure(EFAULT));
    EXPECT_EQ(result.host_errno(), EFAULT);
  }
}

TEST_P(Engine, FlushesWhatWasWrittenBefore) {
  open(1U << 20);
  QueueDriver driver(*device_);
  TestMemory memory(4096);
  memory.fill(2);
  EXPECT_EQ(driver.run(BioOp::write, 0, memory.data(), 4096), IoResult::success(4096));
  EXPECT_EQ(driver.flush(), IoResult::success(0));
  TestMemory seen(4096);
  const UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(::pread(fd.get(), seen.data(), 4096, 0), 4096);
  EXPECT_EQ(std::memcmp(seen.data(), memory.data(), 4096), 0);
}

INSTANTIATE_TEST_SUITE_P(ring, Engine, ::testing::Values(HostEngine::io_uring, HostEngine::threads),
                         [](const auto& param_info) {
                           return param_info.param == HostEngine::threads ? "threads" : "io_uring";
                         });

// From now on io_uring_setup() fails with EPERM in the calling thread, as in most containers.
bool forbid_io_uring() {
  constexpr auto nr_offset = static_cast<std::uint32_t>(offsetof(seccomp_data, nr));
  sock_filter rules[] = {
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, nr_offset},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_io_uring_setup},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
  };
  const sock_fprog program{4, rules};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(EngineChoice, FallsBackToThreadsWhereIoUringIsForbiddenAndSaysSoOnce) {
  TempFolder folder;
  const std::string path = folder.file("device");
  make_file(path, 1U << 20);
  forget_notices();
  std::vector<std::string> notices;
  bool can_forbid = true;
  // A thread of its own, because the rule cannot be taken back.
  std::thread([&] {
    can_forbid = forbid_io_uring();
    if (!can_forbid) return;
    HostDeviceOptions options;
    options.threads = 3;
    options.notice = [&](std::string_view text) { notices.emplace_back(text); };
    for (unsigned i = 0; i < 2; ++i) {
      const auto opened = open_host_device(path, options);
      ASSERT_TRUE(opened) << opened.error().message();
      EXPECT_EQ(host_engine_name(**opened), "threads");
      QueueDriver driver(**opened);
      TestMemory memory(4096);
      EXPECT_EQ(driver.run(BioOp::write, 0, memory.data(), 4096), IoResult::success(4096));
    }
    options.engine = HostEngine::io_uring;
    const auto refused = open_host_device(path, options);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Errc::permission);
    EXPECT_NE(refused.error().message().find("io_uring"), std::string::npos);
  }).join();
  if (!can_forbid) GTEST_SKIP() << "this host has no seccomp filters";
  EXPECT_EQ(notices,
            std::vector<std::string>{
                "io_uring is not available here (Operation not permitted), using 3 threads"});
}

class UringQueueTest : public ::testing::Test {
 protected:
  void SetUp() override {
    make_file(path_, 1U << 20);
    auto opened = open_host_device(path_, HostDeviceOptions{.engine = HostEngine::io_uring});
    if (!opened) GTEST_SKIP() << opened.error().message();
    device_ = std::move(*opened);
  }

  TempFolder folder_;
  const std::string path_ = folder_.file("device");
  std::unique_ptr<BlockDevice> device_;
};

TEST_F(UringQueueTest, UsesNoFeatureThatIsForbidden) {
  Geometry geometry = device_->geometry();
  const UniqueFd fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  const UringFeatures nothing{.deferred = false,
                              .cooperative = false,
                              .registered_ring = false,
                              .fixed_file = false,
                              .fixed_buffers = false,
                              .timed_wait = false};
  UringQueueOptions options;
  options.allowed = nothing;
  auto queue = UringQueue::open(fd.get(), geometry, options);
  ASSERT_TRUE(queue);
  EXPECT_EQ((*queue)->features(), nothing);
  TestMemory memory(4096);
  EXPECT_FALSE((*queue)->register_buffer(memory.span()));
  (*queue)->unregister_buffer(memory.span());
}

TEST_F(UringQueueTest, DoesNotRegisterMemoryThatTheHostCannotPin) {
  auto queue = device_->open_queue(-1);
  ASSERT_TRUE(queue);
  auto& registers = dynamic_cast<RegistersBuffers&>(**queue);
  EXPECT_FALSE(registers.register_buffer({}));
  EXPECT_FALSE(registers.register_buffer({reinterpret_cast<std::byte*>(4096), 4096}));
}

class UringQueueDeathTest : public UringQueueTest {};

TEST_F(UringQueueDeathTest, SubmittingFromTheEndOfABioIsCaught) {
  EXPECT_DEATH(
      {
        static BlockQueue* queue;
        auto opened = device_->open_queue(-1);
        queue = opened->get();
        Bio bio;
        bio.op = BioOp::flush;
        bio.end_io = [](Bio& ended) noexcept { queue->submit(&ended); };
        queue->submit(&bio);
        for (;;) {
          queue->poll();
          queue->wait(-1);
        }
      },
      "the end of a bio submits nothing");
}

}  // namespace
}  // namespace handback::testing
