// Holds the table of rooms and arrows in docs/ARCHITECTURE.md against the tree.
//
// The build already keeps a room from including upward. This check keeps the page true: the table,
// the MAY_USE lists of the build and the #include lines of every file have to say the same.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace handback::testing {

// One sentence per violation, each naming file and line; empty if the tree at `root` keeps the
// rules.
std::vector<std::string> check_layers(const std::filesystem::path& root);

}  // namespace handback::testing
