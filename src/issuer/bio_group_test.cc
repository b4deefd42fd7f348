// A group of bios: one end, after the last of them, with the first error.
// Fails with the planted bugs bio_group_ends_early and bio_group_swallows_errors.
#include <handback/bio_group.h>

#include "issuer/fake_device_test_support.h"
#include "issuer/issuer_impl.h"
#include "issuer/issuer_test_support.h"

namespace handback::testing {
namespace {

constexpr std::uint32_t part_bytes = 4096;

struct GroupOfThree {
  GroupOfThree() : device(geometry()), issuer(make_issuer()), group(*issuer, device) {
    device.hold(true);
    group.write(0, memory);
    group.start([](BioGroup&, void* count) noexcept { ++*static_cast<unsigned*>(count); }, &ended);
  }
  static Geometry geometry() {
    Geometry small = FakeDevice::default_geometry();
    small.transfer_bytes_max = part_bytes;
    return small;
  }

  FakeDevice device;
  std::unique_ptr<Issuer> issuer;
  std::vector<std::byte> memory = std::vector<std::byte>(3 * part_bytes);
  BioGroup group;
  unsigned ended = 0;
};

TEST(BioGroups, EndOnceAndNotBeforeTheLastBio) {
  GroupOfThree three;
  ASSERT_EQ(three.device.held_count(), 3U);
  for (unsigned i = 0; i < 3; ++i) {
    three.issuer->poll();
    EXPECT_EQ(three.ended, 0U) << i;
    three.device.end_in_poll();
  }
  three.issuer->poll();
  EXPECT_EQ(three.ended, 1U);
  EXPECT_EQ(three.group.result(), IoResult());
}

TEST(BioGroups, HaveTheErrorThatCameFirst) {
  GroupOfThree three;
  ASSERT_EQ(three.device.held_count(), 3U);
  three.device.end_in_poll(1, IoResult::host_failure(5));
  three.device.end_in_poll(0);
  three.device.end_in_poll(0, IoResult::host_failure(28));
  three.issuer->poll();
  EXPECT_EQ(three.ended, 1U);
  EXPECT_EQ(three.group.result(), IoResult::host_failure(5));
}

}  // namespace
}  // namespace handback::testing
