#include "issuer/in_line.h"

#include <gtest/gtest.h>

#include <array>

namespace handback::testing {
namespace {

struct Entry : InLine {
  bool in_its_line = true;
  unsigned canceled = 0;

  Entry() {
    withdraw = [](InLine& entry) noexcept { return static_cast<Entry&>(entry).in_its_line; };
    cancel = [](InLine& entry) noexcept { ++static_cast<Entry&>(entry).canceled; };
  }
};

TEST(InLineList, CancelsWhatStandsInLineOnce) {
  InLineList list;
  std::array<Entry, 3> entries;
  for (Entry& entry : entries)
    list.add(entry);
  list.remove(entries[1]);
  list.cancel_all();
  list.cancel_all();
  EXPECT_EQ(entries[0].canceled, 1U);
  EXPECT_EQ(entries[1].canceled, 0U);
  EXPECT_EQ(entries[2].canceled, 1U);
  // Gone from the list: nothing to remove.
  list.remove(entries[0]);
}

// It was added, and is about to enter its line on another thread.
TEST(InLineList, KeepsWhatIsNotInItsLineYetForTheNextLook) {
  InLineList list;
  Entry late;
  late.in_its_line = false;
  Entry other;
  list.add(late);
  list.add(other);
  list.cancel_all();
  EXPECT_EQ(late.canceled, 0U);
  EXPECT_EQ(other.canceled, 1U);
  late.in_its_line = true;
  list.cancel_all();
  EXPECT_EQ(late.canceled, 1U);
}

}  // namespace
}  // namespace handback::testing
