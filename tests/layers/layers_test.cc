// Goal: the tree keeps docs/ARCHITECTURE.md's table, and the check that says so would notice if it
// did not. Method: the check runs over this tree, then over small trees with one violation planted
// in each.
#include "layers.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace handback::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view table = R"(# Architecture

## Rooms and arrows

| room | may use | what it holds |
|---|---|---|
| `base` | - | errors |
| `block` | `base` | bios |
| `memory` | `block`, `base` | memory |
| `ring` | `block` `base` | io_uring |
| `dio` | `block` `base` | the engine |

## Glossary

| `word` | `base` | not a room |
)";

// A tree that keeps the rules; each test breaks one thing.
class Layers : public ::testing::Test {
 protected:
  Layers() {
    std::string name = (fs::temp_directory_path() / "handback_layers_XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    write("docs/ARCHITECTURE.md", table);
    write("include/handback/error.h", "#include <string>\n");
    write("include/handback/bio.h", "#include <handback/error.h>\n");
    write("include/handback/iomap.h", "#include <handback/bio.h>\n");
    write("include/handback/handback.h", "#include <handback/iomap.h>\n");
    write("src/base/CMakeLists.txt", "hb_room(NAME base PUBLIC_HEADERS error.h)\n");
    write("src/block/CMakeLists.txt", "hb_room(NAME block MAY_USE base PUBLIC_HEADERS bio.h)\n");
    write("src/memory/CMakeLists.txt", "hb_room(NAME memory MAY_USE block base)\n");
    write("src/ring/CMakeLists.txt", "hb_room(NAME ring MAY_USE block base)\n");
    write("src/dio/CMakeLists.txt",
          "hb_room(NAME dio\n  MAY_USE block base  # dio\n  PUBLIC_HEADERS iomap.h\n"
          "  LIBRARIES fmt::fmt PkgConfig::libisal TEST_USES memory)\n");
    write("src/base/assert.h", "#pragma once\n");
    write("src/ring/ring.cc", "#include <liburing.h>\n");
    write("src/dio/dio.h", "#include <handback/iomap.h>\n");
    write("src/dio/dio.cc",
          "#include \"dio/dio.h\"\n#include <string>\n#include <handback/bio.h>\n"
          "  #  include \"base/assert.h\"\n");
    write("src/dio/dio_test.cc", "#include \"memory/fake.h\"\n#include <gtest/gtest.h>\n");
    write("tools/main.cc", "#include <handback/handback.h>\n#include \"options.h\"\n");
    write("tools/options.h", "#include <vector>\n");
  }
  ~Layers() override { fs::remove_all(root_); }

  void write(const std::string& path, std::string_view text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void replace_in_table(std::string_view from, std::string_view to) {
    std::string page(table);
    page.replace(page.find(from), from.size(), to);
    write("docs/ARCHITECTURE.md", page);
  }
  std::vector<std::string> violations() const { return check_layers(root_); }

  fs::path root_;
};

TEST_F(Layers, ThisTreeKeepsItsTable) {
  EXPECT_THAT(check_layers(HANDBACK_SOURCE_DIR), IsEmpty());
}

TEST_F(Layers, ATreeThatKeepsTheRulesHasNoViolations) {
  EXPECT_THAT(violations(), IsEmpty());
}

TEST_F(Layers, AnUpwardIncludeIsNamedWithFileAndLine) {
  write("src/base/assert.h", "#pragma once\n#include \"dio/dio.h\"\n");
  EXPECT_THAT(violations(), ElementsAre(AllOf(HasSubstr("src/base/assert.h:2:"),
                                              HasSubstr("base may not use dio"))));
}

TEST_F(Layers, AnIncludeInAngleBracketsIsBoundToo) {
  write("src/block/bio.cc", "#include <dio/dio.h>\n");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("block may not use dio")));
}

TEST_F(Layers, APublicHeaderOfAnUpperRoomCounts) {
  write("src/block/bio.cc", "#include <handback/iomap.h>\n");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("block may not use dio")));
}

TEST_F(Layers, TheHeaderOfAllRoomsIsForNoRoom) {
  write("src/dio/dio.h", "#include <handback/handback.h>\n");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("dio may not use handback")));
}

TEST_F(Layers, OnlyTestsMayUseTheRoomsOfTestUses) {
  write("src/dio/dio.cc", "#include \"memory/fake.h\"\n");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("dio may not use memory")));
}

TEST_F(Layers, AHeaderThatOnlyTestsIncludeIsPartOfTheTests) {
  write("src/dio/fixture.h", "#include \"dio/power_cut.h\"\n");
  write("src/dio/power_cut.h", "#include \"memory/fake.h\"\n");
  write("src/dio/dio_test.cc", "#include \"dio/fixture.h\"\n");
  EXPECT_THAT(violations(), IsEmpty());
}

TEST_F(Layers, AHeaderThatTheRoomIncludesTooIsNotPartOfTheTests) {
  write("src/dio/power_cut.h", "#include \"memory/fake.h\"\n");
  write("src/dio/dio_test.cc", "#include \"dio/power_cut.h\"\n");
  write("src/dio/dio.cc", "#include \"dio/power_cut.h\"\n");
  EXPECT_THAT(violations(),
              ElementsAre(HasSubstr("src/dio/power_cut.h:1: dio may not use memory")));
}

TEST_F(Layers, AHeaderThatNobodyIncludesIsNotPartOfTheTests) {
  write("src/dio/power_cut.h", "#include \"memory/fake.h\"\n");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("dio may not use memory")));
}

TEST_F(Layers, PublicHeadersKeepTheArrowsToo) {
  write("include/handback/error.h", "#include <handback/bio.h>\n");
  EXPECT_THAT(violations(), ElementsAre(AllOf(HasSubstr("include/handback/error.h:1:"),
                                              HasSubstr("base may not use block"))));
}

TEST_F(Layers, APublicHeaderMustBelongToARoom) {
  write("include/handback/stray.h", "");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("in no room's PUBLIC_HEADERS")));
}

TEST_F(Layers, DotDotIsRefusedEverywhere) {
  write("src/base/assert.h", "#include \"../dio/dio.h\"\n");
  write("tools/options.h", "#include \"../src/dio/dio.h\"\n");
  write("tests/x/x_test.cc", "#include \"../../src/dio/dio.h\"\n");
  EXPECT_THAT(violations(),
              ElementsAre(AllOf(HasSubstr("src/base/assert.h:1:"), HasSubstr("goes around")),
                          HasSubstr("tools/options.h:1:"), HasSubstr("tests/x/x_test.cc:1:")));
}

TEST_F(Layers, AMacroAsIncludeIsRefused) {
  write("src/base/assert.h", "#include HB_HEADER\n");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("macro")));
}

TEST_F(Layers, AQuotedIncludeNamesItsRoom) {
  write("src/dio/dio.cc", "#include \"dio.h\"\n");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("\"dio/dio.h\"")));
}

TEST_F(Layers, OnlyTheRingRoomSeesIoUring) {
  write("src/dio/dio.cc", "#include <liburing.h>\n");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("only ring makes I/O system calls")));
}

TEST_F(Layers, ToolsSeePublicHeadersAndTheirOwnFilesOnly) {
  write("tools/main.cc",
        "#include \"dio/dio.h\"\n#include <block/x.h>\n#include <handback/none.h>\n");
  EXPECT_THAT(violations(),
              ElementsAre(HasSubstr("tools/main.cc:1:"), HasSubstr("tools may not use block"),
                          HasSubstr("<handback/none.h> belongs to no room")));
}

TEST_F(Layers, TheBuildMayNotAllowMoreThanTheTable) {
  write("src/base/CMakeLists.txt", "hb_room(NAME base MAY_USE block PUBLIC_HEADERS error.h)\n");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("MAY_USE says block, the table says nothing")));
}

TEST_F(Layers, TheTableMayNotAllowMoreThanTheBuild) {
  replace_in_table("| `memory` | `block`, `base` |", "| `memory` | `ring` `block`, `base` |");
  EXPECT_THAT(violations(),
              ElementsAre(HasSubstr("MAY_USE says base block, the table says base block ring")));
}

TEST_F(Layers, ARoomMissingFromTheTableIsNamed) {
  write("src/extra/CMakeLists.txt", "hb_room(NAME extra)\n");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("src/extra is missing from the table")));
}

TEST_F(Layers, ARoomMissingFromTheTreeIsNamed) {
  replace_in_table("| `ring` |", "| `rung` | `base` | gone |\n| `ring` |");
  EXPECT_THAT(violations(), ElementsAre(HasSubstr("there is no room src/rung")));
}

TEST_F(Layers, ACircleOfArrowsIsRefused) {
  replace_in_table("| `base` | - |", "| `base` | `dio` |");
  write("src/base/CMakeLists.txt", "hb_room(NAME base MAY_USE dio PUBLIC_HEADERS error.h)\n");
  EXPECT_THAT(violations(), ::testing::Contains(HasSubstr("from base back to itself")));
}

TEST_F(Layers, ATableThatIsGoneIsAViolation) {
  replace_in_table("## Rooms and arrows", "## Rooms");
  EXPECT_THAT(violations(), ::testing::Contains(HasSubstr("there is no table")));
}

}  // namespace
}  // namespace handback::testing
