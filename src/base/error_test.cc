#include <handback/error.h>

#include <cerrno>
#include <map>
#include <set>
#include <string>
#include <type_traits>

#include "base/base_test_support.h"

namespace handback::testing {
namespace {

// --- codes ---

TEST(Errc, IsNamedAsItIsWritten) {
  const std::map<Errc, std::string_view> names = {
      {Errc::ok, "ok"},
      {Errc::invalid, "invalid"},
      {Errc::not_supported, "not_supported"},
      {Errc::would_block, "would_block"},
      {Errc::no_space, "no_space"},
      {Errc::too_large, "too_large"},
      {Errc::not_found, "not_found"},
      {Errc::exists, "exists"},
      {Errc::not_a_directory, "not_a_directory"},
      {Errc::is_a_directory, "is_a_directory"},
      {Errc::not_empty, "not_empty"},
      {Errc::busy, "busy"},
      {Errc::read_only, "read_only"},
      {Errc::permission, "permission"},
      {Errc::io, "io"},
      {Errc::damaged, "damaged"},
      {Errc::version, "version"},
      {Errc::poisoned, "poisoned"},
      {Errc::canceled, "canceled"},
      {Errc::timed_out, "timed_out"},
  };
  // Beyond the list there are none.
  for (unsigned value = 0; value < 100; ++value) {
    const auto code = static_cast<Errc>(value);
    const auto known = names.find(code);
    EXPECT_EQ(errc_name(code), known == names.end() ? "unknown" : known->second) << value;
  }
}

TEST(Errc, ComesFromTheHostsErrnoByATableThatNeverSaysOk) {
  const std::map<int, Errc> table = {
      {EINVAL, Errc::invalid},
      {EOPNOTSUPP, Errc::not_supported},
      {ENOSYS, Errc::not_supported},
      {EAGAIN, Errc::would_block},
      {ENOSPC, Errc::no_space},
      {EDQUOT, Errc::no_space},
      {EFBIG, Errc::too_large},
      {EOVERFLOW, Errc::too_large},
      {ENOENT, Errc::not_found},
      {EEXIST, Errc::exists},
      {ENOTDIR, Errc::not_a_directory},
      {EISDIR, Errc::is_a_directory},
      {ENOTEMPTY, Errc::not_empty},
      {EBUSY, Errc::busy},
      {ETXTBSY, Errc::busy},
      {EROFS, Errc::read_only},
      {EACCES, Errc::permission},
      {EPERM, Errc::permission},
  };
  for (int number = -1; number < 4096; ++number) {
    const auto found = table.find(number);
    const Errc expected = found == table.end() ? Errc::io : found->second;
    ASSERT_EQ(errc_from_errno(number), expected) << number;
  }
}

// --- results ---

static_assert(sizeof(IoResult) == 8);
static_assert(std::is_trivially_copyable_v<IoResult>);

TEST(IoResult, IsASuccessOfNoBytesAtFirst) {
  constexpr IoResult result;
  static_assert(result.ok() && result.bytes() == 0 && result.code() == Errc::ok);
  static_assert(result.detail() == IoDetail::none && result.host_errno() == 0);
  static_assert(result == IoResult::success(0));
}

TEST(IoResult, HoldsTheLargestCountOfOneRequest) {
  constexpr IoResult result = IoResult::success(io_length_bytes_max);
  static_assert(result.ok() && result.bytes() == 0x7ffff000U);
}

TEST(IoResult, OfAFailureHoldsCodeDetailAndPrefix) {
  constexpr IoResult result = IoResult::failure(Errc::invalid, IoDetail::offset_unaligned, 4096);
  static_assert(!result.ok());
  static_assert(result.code() == Errc::invalid);
  static_assert(result.detail() == IoDetail::offset_unaligned);
  static_assert(result.bytes() == 4096);
  static_assert(result.host_errno() == 0);
}

TEST(IoResult, DiffersByCodeDetailErrnoAndBytes) {
  const IoResult result = IoResult::failure(Errc::invalid, IoDetail::offset_unaligned, 512);
  EXPECT_EQ(result, IoResult::failure(Errc::invalid, IoDetail::offset_unaligned, 512));
  EXPECT_NE(result, IoResult::failure(Errc::not_supported, IoDetail::offset_unaligned, 512));
  EXPECT_NE(result, IoResult::failure(Errc::invalid, IoDetail::length_unaligned, 512));
  EXPECT_NE(result, IoResult::failure(Errc::invalid, IoDetail::offset_unaligned, 1024));
  EXPECT_NE(IoResult::host_failure(EIO), IoResult::host_failure(ENXIO));
}

TEST(IoResult, WithOtherBytesKeepsTheRest) {
  EXPECT_EQ(IoResult::host_failure(EIO, 8192).with_bytes(512), IoResult::host_failure(EIO, 512));
  EXPECT_EQ(IoResult::success(8192).with_bytes(512), IoResult::success(512));
  EXPECT_EQ(IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit).with_bytes(7),
            IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit, 7));
}

// Callers of a request act on a full or read-only host; all else is `io` with its number.
TEST(IoResult, OfAHostFailureKeepsTheErrnoExceptWhereCallersActOnTheCode) {
  for (int number = 1; number < 4096; ++number) {
    IoResult expected;
    if (number == ENOSPC || number == EDQUOT) {
      expected = IoResult::failure(Errc::no_space, IoDetail::none, 512);
    } else if (number == EROFS) {
      expected = IoResult::failure(Errc::read_only, IoDetail::none, 512);
    } else {
      const IoResult result = IoResult::host_failure(number, 512);
      ASSERT_EQ(result.code(), Errc::io) << number;
      ASSERT_EQ(result.host_errno(), number);
      ASSERT_EQ(result.detail(), IoDetail::none) << number;
      ASSERT_EQ(result.bytes(), 512U) << number;
      continue;
    }
    EXPECT_EQ(IoResult::host_failure(number, 512), expected) << number;
  }
}

TEST(IoResultDeathTest, OfAHostFailureNeedsAnErrno) {
  EXPECT_DEATH(static_cast<void>(IoResult::host_failure(0)), "a host failure carries the errno");
  EXPECT_DEATH(static_cast<void>(IoResult::host_failure(-EIO)), "a host failure carries the errno");
}

// --- sentences ---

TEST(DescribeResult, SaysWhatIsWrongAndWhatToDoForEveryDetail) {
  const std::map<IoDetail, std::string> sentences = {
      {IoDetail::none, ""},
      {IoDetail::offset_unaligned,
       ": the offset is not a multiple of the device's logical block; align it"},
      {IoDetail::length_unaligned,
       ": the length of a segment is not a multiple of the device's logical block; pad it"},
      {IoDetail::buffer_unaligned,
       ": the address of a segment is not aligned as the device needs; use an AlignedBuffer"},
      {IoDetail::length_beyond_limit, ": the request is longer than io_length_bytes_max; split it"},
      {IoDetail::offset_beyond_limit, ": the request ends beyond the largest offset possible"},
      {IoDetail::flag_not_direct, ": this file has no page cache for buffered I/O; set DIRECT"},
      {IoDetail::flag_waitq,
       ": WAITQ is for buffered reads that bring a wait entry and are not polled; clear it"},
      {IoDetail::flag_hipri, ": HIPRI: this device cannot be polled; clear the flag"},
      {IoDetail::flag_noio,
       ": NOIO is for buffered reads, which may find the bytes in the page cache; clear it"},
      {IoDetail::flag_atomic, ": ATOMIC: untorn writes are not implemented; clear the flag"},
      {IoDetail::flag_dontcache, ": DONTCACHE is for buffered I/O; clear it, or DIRECT"},
      {IoDetail::flag_append_read, ": APPEND on a read; clear the flag"},
      {IoDetail::flag_direction, ": the WRITE flag does not match the call"},
      {IoDetail::flag_unknown, ": a flag bit without a meaning is set; clear it"},
      {IoDetail::short_transfer, ": the device ended a transfer early; check the device"},
      {IoDetail::metadata_area_full,
       ": the volume cannot describe more extents or names; remove files or format a larger "
       "volume"},
      {IoDetail::missed_deadline,
       ": the device let a request miss its deadline, and what became of that is unknown; close "
       "the device and open it again"},
      {IoDetail::flag_nowait, ": this file does not take NOWAIT writes; clear the flag"},
      {IoDetail::flag_append, ": this file does not take APPEND; give the offset"},
      {IoDetail::offset_not_next,
       ": this file is written in order; write where the last write ended, or use APPEND"},
      {IoDetail::behind_failed_append,
       ": an append before this one failed, and the file ends there; append again"},
      {IoDetail::gap_unprepared,
       ": what lies between the file's end and the write is not zeroed yet; try again without "
       "NOWAIT"},
      {IoDetail::data_checksum,
       ": a block of data is not as it was written; 'handback check --data' names the blocks; "
       "write them anew from a copy and check the device"},
      {IoDetail::file_is_cached,
       ": the file has got a page cache, in which to make way first; try again without NOWAIT"},
  };
  std::set<std::string> different;
  for (const auto& [detail, sentence] : sentences) {
    EXPECT_EQ(describe(IoResult::failure(Errc::invalid, detail)), "invalid" + sentence);
    different.insert(sentence);
  }
  EXPECT_EQ(different.size(), sentences.size());
  // The list above is all there are: a detail without a sentence would describe as the bare code.
  for (unsigned value = 0; value < 100; ++value) {
    if (sentences.count(static_cast<IoDetail>(value)) != 0) continue;
    EXPECT_EQ(describe(IoResult::failure(Errc::invalid, static_cast<IoDetail>(value))), "invalid: ")
        << value << " is a detail that this test does not know";
  }
}

TEST(DescribeResult, GivesTheBytesOfASuccess) {
  EXPECT_EQ(describe(IoResult::success(0)), "0 bytes");
  EXPECT_EQ(describe(IoResult::success(4096)), "4096 bytes");
}

TEST(DescribeResult, GivesTheHostsErrnoAndItsText) {
  EXPECT_EQ(describe(IoResult::host_failure(EIO)), "io: Input/output error (errno 5)");
  EXPECT_EQ(describe(IoResult::host_failure(ENOMEM)), "io: Cannot allocate memory (errno 12)");
  EXPECT_EQ(describe(IoResult::host_failure(ENOSPC)), "no_space");
  EXPECT_EQ(describe(IoResult::failure(Errc::io)), "io");
}

TEST(DescribeResult, GivesThePrefixOfAFailureThatHasOne) {
  EXPECT_EQ(describe(IoResult::host_failure(EIO, 8192)),
            "io: Input/output error (errno 5); the first 8192 bytes were transferred");
  EXPECT_EQ(describe(IoResult::failure(Errc::would_block, IoDetail::none, 512)),
            "would_block; the first 512 bytes were transferred");
}

TEST(Error, KeepsItsCodeAndSentence) {
  const Result<int> failed = fail(Errc::busy, "held by process 7");
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Errc::busy);
  EXPECT_EQ(failed.error().message(), "held by process 7");
}

// --- outcomes ---

// "Not final yet" is no number and no result, and none of them is taken for it.
static_assert(!std::is_convertible_v<NotFinal, IoResult>);
static_assert(!std::is_convertible_v<Outcome, IoResult>);
static_assert(!std::is_constructible_v<Outcome, int>);
static_assert(!std::is_constructible_v<int, NotFinal>);
static_assert(!std::is_constructible_v<bool, Outcome>);
static_assert(!std::is_default_constructible_v<Outcome>);

TEST(Outcome, OfAResultIsFinalAndGivesIt) {
  const Outcome outcome = IoResult::failure(Errc::no_space, IoDetail::metadata_area_full, 3);
  ASSERT_TRUE(outcome.is_final());
  EXPECT_EQ(outcome.result(), IoResult::failure(Errc::no_space, IoDetail::metadata_area_full, 3));
}

TEST(Outcome, OfNotFinalIsNotFinal) {
  const Outcome outcome = NotFinal{};
  EXPECT_FALSE(outcome.is_final());
}

TEST(OutcomeDeathTest, HasNoResultBeforeItIsFinal) {
  const Outcome outcome = NotFinal{};
  EXPECT_DEATH(static_cast<void>(outcome.result()), "a result is read only from a final outcome");
}

}  // namespace
}  // namespace handback::testing
