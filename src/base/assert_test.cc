#include "base/assert.h"

#include <gtest/gtest.h>

namespace handback::testing {
namespace {

TEST(Assert, LetsATrueConditionPassAndEvaluatesItOnce) {
  int evaluations = 0;
  HB_ASSERT(++evaluations == 1, "never printed");
  EXPECT_EQ(evaluations, 1);
}

TEST(AssertDeathTest, NamesRuleConditionAndPlaceOfWhatWasBroken) {
  EXPECT_DEATH(HB_ASSERT(1 + 1 == 3, "sums are right"),
               "^handback: rule broken: sums are right\n"
               "  condition: 1 \\+ 1 == 3\n"
               "  where:     .*assert_test\\.cc:[0-9]+, .*\n");
}

TEST(AssertDeathTest, NamesTheSubjectWhereThereIsOne) {
  EXPECT_DEATH(rule_broken("a condition", "a rule", "flags=WRITE"),
               "^handback: rule broken: a rule\n"
               "  condition: a condition\n"
               "  subject:   flags=WRITE\n"
               "  where:     .*assert_test\\.cc:[0-9]+, ");
}

// A subject and a rule need not end in a zero byte.
TEST(AssertDeathTest, PrintsNoByteBeyondTheTexts) {
  const std::string_view text = "rule and more";
  EXPECT_DEATH(rule_broken("c", text.substr(0, 4), text.substr(5, 3)),
               "rule broken: rule\n  condition: c\n  subject:   and\n");
}

}  // namespace
}  // namespace handback::testing
