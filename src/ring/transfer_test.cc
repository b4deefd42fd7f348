#include "ring/transfer.h"

#include <gtest/gtest.h>

namespace handback {
namespace {

TEST(Transfer, APartialBlockIsTransferredAgain) {
  EXPECT_EQ(advance(0, 8192, 4096), 8192U);
  EXPECT_EQ(advance(4096, 4096, 4096), 8192U);
  EXPECT_EQ(advance(4096, 5000, 4096), 8192U);
  EXPECT_EQ(advance(4096, 4095, 4096), 4096U);
  EXPECT_EQ(advance(4096, 0, 4096), 4096U);
  EXPECT_EQ(advance(0, 1000, 512), 512U);
}

TEST(Transfer, TheRestStartsWhereTheTransferStopped) {
  std::byte memory[64];
  Bio bio;
  bio.add_segment(memory, 8);
  bio.add_segment(memory + 32, 16);
  bio.add_segment(memory + 16, 4);
  struct Case {
    std::uint32_t done;
    std::size_t offset;
    std::size_t length;
  };
  for (const Case& c : {Case{0, 0, 8}, Case{7, 7, 1}, Case{8, 32, 16}, Case{20, 44, 4},
                        Case{24, 16, 4}, Case{27, 19, 1}}) {
    const iovec rest = rest_of_segment(bio, c.done);
    EXPECT_EQ(rest.iov_base, memory + c.offset);
    EXPECT_EQ(rest.iov_len, c.length);
  }
}

}  // namespace
}  // namespace handback
