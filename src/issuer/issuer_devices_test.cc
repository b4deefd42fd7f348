// The queues an issuer has to devices.
#include <handback/bio_group.h>
#include <handback/memory_device.h>

#include <set>

#include "issuer/fake_device_test_support.h"
#include "issuer/issuer_impl.h"
#include "issuer/issuer_test_support.h"

namespace handback::testing {
namespace {

TEST(IssuerDevices, AreOpenedOnceAndFoundAgain) {
  FakeDevice first;
  FakeDevice second;
  const auto issuer = make_issuer();
  value_of(issuer->attach(first));
  value_of(issuer->attach(first));
  BlockQueue* const first_queue = issuer->impl().queue_for(first);
  BlockQueue* const second_queue = issuer->impl().queue_for(second);
  ASSERT_NE(first_queue, nullptr);
  ASSERT_NE(second_queue, nullptr);
  EXPECT_NE(first_queue, second_queue);
  EXPECT_EQ(issuer->impl().queue_for(first), first_queue);
  EXPECT_EQ(issuer->impl().queue_for(second), second_queue);
  EXPECT_EQ(first.queues_opened, 1U);
  EXPECT_EQ(second.queues_opened, 1U);
}

TEST(IssuerDevices, OfTwoIssuersHaveQueuesOfTheirOwn) {
  FakeDevice device;
  const auto first = make_issuer();
  const auto second = make_issuer();
  EXPECT_NE(first->impl().queue_for(device), second->impl().queue_for(device));
  EXPECT_EQ(device.queues_opened, 2U);
}

TEST(IssuerDevices, AreClosedWithTheIssuer) {
  FakeDevice device;
  auto issuer = make_issuer();
  value_of(issuer->attach(device));
  EXPECT_EQ(device.queues_closed, 0U);
  issuer.reset();
  EXPECT_EQ(device.queues_closed, 1U);
}

// None of its own requests need be in flight for that.
TEST(IssuerDevices, AreClosedWhenAStartedGroupHasEnded) {
  FakeDevice device;
  auto issuer = make_issuer();
  unsigned ended = 0;
  BioGroup group(*issuer, device);
  group.flush();
  group.start([](BioGroup&, void* count) noexcept { ++*static_cast<unsigned*>(count); }, &ended);
  EXPECT_EQ(ended, 0U);
  issuer.reset();
  EXPECT_EQ(ended, 1U);
  EXPECT_EQ(group.result(), IoResult());
}

TEST(IssuerDevices, CanBeDetachedAndAttachedAnew) {
  FakeDevice first;
  FakeDevice second;
  const auto issuer = make_issuer();
  value_of(issuer->attach(first));
  BlockQueue* const kept = issuer->impl().queue_for(second);
  value_of(issuer->attach(first));  // The one used last, too, is forgotten.
  issuer->detach(first);
  EXPECT_EQ(first.queues_closed, 1U);
  EXPECT_EQ(second.queues_closed, 0U);
  EXPECT_EQ(issuer->impl().queue_for(second), kept);
  ASSERT_NE(issuer->impl().queue_for(first), nullptr);
  EXPECT_EQ(first.queues_opened, 2U);
}

TEST(IssuerDevices, ThatWereNeverAttachedMayBeDetached) {
  FakeDevice device;
  const auto issuer = make_issuer();
  issuer->detach(device);
  EXPECT_EQ(device.queues_closed, 0U);
}

TEST(IssuerDevices, ThatDoNotOpenSayWhy) {
  FakeDevice device;
  device.open_error = Error(Errc::permission, "io_uring is forbidden here");
  const auto issuer = make_issuer();
  const auto attached = issuer->attach(device);
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code(), Errc::permission);
  EXPECT_EQ(attached.error().message(), "io_uring is forbidden here");
  EXPECT_EQ(issuer->impl().queue_for(device), nullptr);
  device.open_error.reset();
  value_of(issuer->attach(device));
}

TEST(IssuerDevices, AreAtMostSixteen) {
  std::vector<std::unique_ptr<FakeDevice>> devices;
  Geometry small = FakeDevice::default_geometry();
  small.size_bytes = 4096;
  for (int i = 0; i < 17; ++i)
    devices.push_back(std::make_unique<FakeDevice>(small));
  const auto issuer = make_issuer();
  for (int i = 0; i < 16; ++i)
    value_of(issuer->attach(*devices[static_cast<std::size_t>(i)]));
  const auto refused = issuer->attach(*devices[16]);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::too_large);
  EXPECT_EQ(refused.error().message(), "an issuer serves at most 16 devices; detach one");
  EXPECT_EQ(devices[16]->queues_opened, 0U);
  issuer->detach(*devices[3]);
  value_of(issuer->attach(*devices[16]));
}

TEST(IssuerDevices, AreKickedTogether) {
  FakeDevice first;
  FakeDevice second;
  const auto issuer = make_issuer();
  value_of(issuer->attach(first));
  value_of(issuer->attach(second));
  issuer->kick();
  EXPECT_EQ(first.kicks, 1U);
  EXPECT_EQ(second.kicks, 1U);
}

TEST(IssuerDevices, EndBiosInDeviceContextAndOnlyInPoll) {
  FakeDevice device;
  const auto issuer = make_issuer();
  struct Seen {
    unsigned ended = 0;
    Context context = Context::task;
  } seen;
  AlignedBuffer buffer(4096);
  Bio bio;
  bio.add_segment(buffer.data(), 512);
  bio.private_ = &seen;
  bio.end_io = [](Bio& ended) noexcept {
    auto& saw = *static_cast<Seen*>(ended.private_);
    ++saw.ended;
    saw.context = current_context();
  };
  issuer->impl().queue_for(device)->submit(&bio);
  issuer->kick();
  EXPECT_EQ(seen.ended, 0U);
  issuer->poll();
  EXPECT_EQ(seen.ended, 1U);
  EXPECT_EQ(seen.context, Context::device);
  EXPECT_EQ(current_context(), Context::task);
}

TEST(IssuerDevicesDeathTest, DoNotLetTheEndOfABioSubmitOrWait) {
  FakeDevice device;
  FakeFile file;
  struct Both {
    std::unique_ptr<Issuer> issuer = make_issuer();
    TestAiocb aiocb;
    bool submits = true;
  } both;
  both.aiocb.prepare_read_of(file);
  AlignedBuffer buffer(4096);
  Bio bio;
  bio.add_segment(buffer.data(), 512);
  bio.private_ = &both;
  bio.end_io = [](Bio& ended) noexcept {
    auto& mine = *static_cast<Both*>(ended.private_);
    if (mine.submits) {
      mine.issuer->submit(mine.aiocb);
    } else {
      mine.issuer->wait();
    }
  };
  both.issuer->impl().queue_for(device)->submit(&bio);
  EXPECT_DEATH(both.issuer->poll(), "device context submits no I/O");
  both.submits = false;
  EXPECT_DEATH(both.issuer->poll(), "only task and worker context wait for I/O");
  bio.end_io = [](Bio&) noexcept {};
  both.issuer->poll();
}

// Several queues: the issuer itself sleeps, and must not oversleep what a device without a
// descriptor has.
TEST(IssuerDevices, AreAllServedByOneWait) {
  const auto memory = make_memory_device();
  const auto null = make_null_device();
  FakeDevice fake;
  const auto issuer = make_issuer();
  FakeFile file;
  AlignedBuffer buffer(4096);
  for (BlockDevice* device :
       {static_cast<BlockDevice*>(memory.get()), static_cast<BlockDevice*>(null.get()),
        static_cast<BlockDevice*>(&fake)}) {
    value_of(issuer->attach(*device));
  }
  for (BlockDevice* device :
       {static_cast<BlockDevice*>(memory.get()), static_cast<BlockDevice*>(null.get()),
        static_cast<BlockDevice*>(&fake)}) {
    TestAiocb aiocb;
    aiocb.prepare_read_of(file);
    issuer->submit(aiocb);
    Bio bio;
    bio.add_segment(buffer.data(), 4096);
    bio.private_ = &aiocb;
    bio.end_io = [](Bio& ended) noexcept {
      complete(*static_cast<Kiocb*>(ended.private_), ended.result);
    };
    issuer->impl().queue_for(*device)->submit(&bio);
    EXPECT_EQ(issuer->wait(), 1U);
    EXPECT_EQ(aiocb.result, IoResult::success(4096));
  }
}

// --- memory that devices pin ---

TEST(IssuerBuffers, ArePinnedOnTheQueuesThereAreAndWillBe) {
  FakeDevice first;
  FakeDevice second;
  const auto plain = make_memory_device();
  const auto issuer = make_issuer();
  AlignedBuffer buffer(4096);
  AlignedBuffer other(4096);
  value_of(issuer->attach(first));
  value_of(issuer->attach(*plain));  // Cannot pin; a hint is only a hint.
  issuer->register_buffer(buffer.span());
  issuer->register_buffer(other.span());
  EXPECT_EQ(first.pinned, (std::vector<std::byte*>{buffer.data(), other.data()}));
  issuer->unregister_buffer(other.span());
  EXPECT_EQ(first.unpinned, std::vector<std::byte*>{other.data()});
  value_of(issuer->attach(second));
  EXPECT_EQ(second.pinned, std::vector<std::byte*>{buffer.data()});
  EXPECT_TRUE(second.unpinned.empty());
}

TEST(IssuerBuffers, ThatADeviceRefusesToPinAreNoError) {
  FakeDevice device;
  device.pins_buffers = false;
  const auto issuer = make_issuer();
  AlignedBuffer buffer(4096);
  value_of(issuer->attach(device));
  issuer->register_buffer(buffer.span());
  EXPECT_EQ(device.pinned, std::vector<std::byte*>{buffer.data()});
}

}  // namespace
}  // namespace handback::testing
