// Runs the built programs as a user would, and looks at what they print and leave behind.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tool::testing {

struct Ran {
  int exit_code = -1;  // 128 + n if it was killed by signal n.
  std::string out;
  std::string err;
};

struct RunOptions {
  bool as_nobody = false;  // Gives root up first, so that permissions mean something.
  // Called while the program runs, on a thread of its own.
  std::function<void(pid_t pid)> meanwhile = nullptr;
};

// Runs HB_PROGRAM with these arguments.
Ran run(const std::vector<std::string>& arguments, const RunOptions& options = {});
// Runs any program.
Ran run_program(const std::string& program, const std::vector<std::string>& arguments,
                const RunOptions& options = {});

// A folder of its own for each test, gone afterwards.
class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest();
  ~ProgramTest() override;

  [[nodiscard]] std::string path(const std::string& name) const { return folder_ + "/" + name; }
  [[nodiscard]] const std::string& folder() const { return folder_; }

  // Makes a volume and fails the test if that does not work.
  std::string make_volume(const std::string& name = "vol.img", const std::string& size = "16M");

 private:
  std::string folder_;
};

std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& content);
// Content that is the same for the same arguments and has no pattern.
std::string scrambled(std::size_t bytes, std::uint64_t seed = 1);
void set_mtime(const std::string& path, std::int64_t mtime_ns);
[[nodiscard]] bool exists(const std::string& path);

// Runs the program, which must fail with that code, say all of these words, and leave the file at
// `image` byte for byte as it was.
void expect_refused(const std::string& image, const std::vector<std::string>& arguments,
                    int exit_code, const std::vector<std::string>& words,
                    const RunOptions& options = {});

// Succeeded and said nothing on standard error.
#define EXPECT_RAN(ran)                                               \
  do {                                                                \
    const auto& ran_once = (ran);                                     \
    EXPECT_EQ(ran_once.exit_code, 0) << ran_once.out << ran_once.err; \
    EXPECT_EQ(ran_once.err, "");                                      \
  } while (false)

}  // namespace tool::testing
