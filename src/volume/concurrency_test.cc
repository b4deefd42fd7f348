// Several issuers on one volume: commits led by one serve all, blocks belong to one file, nothing
// is lost.
#include <atomic>
#include <thread>

#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

// Runs `body(issuer, index)` on threads, each with an issuer of its own, and waits for them. Every
// thread keeps polling until all are done: a commit led by one may serve another.
template <typename Body>
void on_threads(unsigned count, Body body) {
  std::atomic<unsigned> busy{count};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      auto issuer = must(Issuer::create());
      body(*issuer, i);
      busy.fetch_sub(1);
      while (busy.load() != 0) {
        issuer->poll();
        std::this_thread::yield();
      }
    });
  }
  for (auto& thread : threads)
    thread.join();
}

TEST(VolumeThreads, WriteTheirOwnFilesDurablyAtTheSameTime) {
  VolumeFixture fixture(MemoryDeviceOptions{.volatile_cache = true, .fua = true});
  constexpr unsigned threads = 4;
  constexpr unsigned writes = 100;
  on_threads(threads, [&](Issuer& issuer, unsigned index) {
    auto file =
        must(fixture.volume->open_file(issuer, "/f" + std::to_string(index), {.create = true}));
    const AlignedBuffer data = pattern(4096, 100 + index);
    for (unsigned i = 0; i < writes; ++i) {
      Aiocb aiocb;
      aiocb.prepare_write(*file, i * 4096, data.span(), KiocbFlags::dsync);
      EXPECT_EQ(issuer.run(aiocb), IoResult::success(4096));
    }
  });
  fixture.kill();
  fixture.open();
  for (unsigned index = 0; index < threads; ++index) {
    auto file = fixture.reopen("/f" + std::to_string(index));
    ASSERT_EQ(file->size(), writes * 4096U);
    const auto expected = bytes_of(pattern(4096, 100 + index).span());
    for (unsigned i = 0; i < writes; ++i)
      EXPECT_EQ(fixture.contents(*file, i * 4096, 4096), expected);
  }
  fixture.kill();
  EXPECT_THAT(must(check_volume(*fixture.issuer, *fixture.device)).findings, ::testing::IsEmpty());
}

TEST(VolumeThreads, AppendToOneFileWithoutOverwritingEachOther) {
  VolumeFixture fixture;
  constexpr unsigned threads = 4;
  constexpr unsigned appends = 200;
  auto file = fixture.create("/log");
  on_threads(threads, [&](Issuer& issuer, unsigned index) {
    AlignedBuffer data(4096);
    for (unsigned i = 0; i < appends; ++i) {
      const std::uint64_t mark = index * appends + i + 1;
      std::memcpy(data.data(), &mark, sizeof mark);
      Aiocb aiocb;
      aiocb.prepare_write(*file, 0, data.span(), KiocbFlags::append);
      EXPECT_EQ(issuer.run(aiocb), IoResult::success(4096));
    }
  });
  ASSERT_EQ(file->size(), threads * appends * 4096U);
  std::vector<bool> seen(threads * appends + 1);
  for (unsigned i = 0; i < threads * appends; ++i) {
    std::uint64_t mark = 0;
    const auto contents = fixture.contents(*file, i * 4096, 4096);
    std::memcpy(&mark, contents.data(), sizeof mark);
    ASSERT_GE(mark, 1U);
    ASSERT_LT(mark, seen.size());
    EXPECT_FALSE(seen[mark]) << mark;
    seen[mark] = true;
  }
}

TEST(VolumeThreads, TruncateWhileOthersWriteAndReadLeavesOneConsistentFile) {
  VolumeFixture fixture;
  auto file = fixture.create("/f");
  on_threads(4, [&](Issuer& issuer, unsigned index) {
    std::mt19937_64 random(index);
    AlignedBuffer data = pattern(16384, index);
    for (unsigned i = 0; i < 200; ++i) {
      const std::uint64_t offset = random() % 32 * 4096;
      Aiocb aiocb;
      switch (index) {
        case 0:
          must(file->truncate(issuer, random() % (32 * 4096)));
          break;
        case 1:
          aiocb.prepare_read(*file, offset, data.span());
          EXPECT_TRUE(issuer.run(aiocb).ok());
          break;
        default:
          aiocb.prepare_write(*file, offset, data.span(),
                              random() % 4 == 0 ? KiocbFlags::dsync : KiocbFlags::none);
          EXPECT_EQ(issuer.run(aiocb), IoResult::success(16384));
      }
    }
  });
  const auto info = file->info();
  const auto extents = file->extents();
  std::uint64_t allocated = 0;
  for (const ExtentInfo& extent : extents)
    allocated += extent.length;
  EXPECT_EQ(allocated, info.allocated_bytes);
  file.reset();
  fixture.close();
  EXPECT_THAT(must(check_volume(*fixture.issuer, *fixture.device)).findings, ::testing::IsEmpty());
}

TEST(VolumeThreads, ReadAPageThatAnotherThreadHasAskedForAndLeftAlone) {
  VolumeFixture fixture;
  auto file = fixture.create("/f");
  const AlignedBuffer data = pattern(block, 9);
  ASSERT_EQ(fixture.write(*file, 0, data.span()), IoResult::success(block));
  AlignedBuffer first(block);
  Aiocb left;
  left.prepare_buffered_read(*file, 0, first.span());
  fixture.issuer->submit(left);
  std::thread([&] {
    auto issuer = must(Issuer::create());
    AlignedBuffer second(block);
    Aiocb aiocb;
    aiocb.prepare_buffered_read(*file, 0, second.span());
    EXPECT_EQ(issuer->run(aiocb), IoResult::success(block));
    EXPECT_EQ(bytes_of(second.span()), bytes_of(data.span()));
  }).join();
  while (fixture.issuer->in_flight() != 0)
    fixture.issuer->wait();
  EXPECT_EQ(left.result, IoResult::success(block));
}

TEST(VolumeThreads, ChangeNamesAtTheSameTime) {
  VolumeFixture fixture;
  on_threads(4, [&](Issuer& issuer, unsigned index) {
    const std::string mine = "/t" + std::to_string(index);
    must(fixture.volume->mkdir(mine));
    for (unsigned i = 0; i < 100; ++i) {
      const std::string name = mine + "/" + std::to_string(i);
      must(fixture.volume->open_file(issuer, name, {.create = true}));
      must(fixture.volume->rename(name, name + "x"));
      if (i % 3 == 0) must(fixture.volume->unlink(name + "x"));
      if (i % 10 == 0) must(fixture.volume->sync(issuer));
    }
  });
  EXPECT_EQ(fixture.volume->info().file_count, 4U * 66);
  fixture.close();
  EXPECT_THAT(must(check_volume(*fixture.issuer, *fixture.device)).findings, ::testing::IsEmpty());
}

}  // namespace
}  // namespace handback::testing
