// A target without a fuzzer: tries its seeds, then seeds that were changed at random, HB_FUZZ_RUNS
// of them (or files named on the command line alone). `--write FOLDER` writes the seeds as files,
// for libFuzzer.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string_view>

#include "fuzz/target.h"

namespace {

void change(fuzz::Input& input, std::mt19937_64& random) {
  for (std::uint64_t hits = 1 + random() % 8; hits != 0; --hits) {
    if (input.empty()) input.push_back(0);
    const std::size_t at = random() % input.size();
    switch (random() % 5) {
      case 0:
        input[at] = static_cast<std::uint8_t>(random());
        break;
      case 1:
        input[at] ^= static_cast<std::uint8_t>(1U << (random() % 8));
        break;
      case 2:
        input.insert(input.begin() + static_cast<std::ptrdiff_t>(at),
                     static_cast<std::uint8_t>(random()));
        break;
      case 3:
        input.erase(input.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      default:
        input[at] = random() % 2 == 0 ? 0xff : 0;
    }
  }
}

int write_seeds(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  unsigned number = 0;
  for (const fuzz::Input& input : fuzz::seeds()) {
    std::ofstream out(folder / ("seed-" + std::to_string(number++)), std::ios::binary);
    out.write(reinterpret_cast<const char*>(input.data()),
              static_cast<std::streamsize>(input.size()));
    if (!out) return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--write") return write_seeds(argv[2]);
  for (int i = 1; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    fuzz::run({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  }
  if (argc > 1) return 0;
  const std::vector<fuzz::Input> seeds = fuzz::seeds();
  for (const fuzz::Input& input : seeds)
    fuzz::run(input);
  const char* runs_text = std::getenv("HB_FUZZ_RUNS");
  const std::uint64_t runs = runs_text == nullptr ? 500 : std::strtoull(runs_text, nullptr, 0);
  std::mt19937_64 random(1);
  for (std::uint64_t i = 0; i < runs; ++i) {
    fuzz::Input input = seeds[random() % seeds.size()];
    change(input, random);
    fuzz::run(input);
  }
  std::fprintf(stderr, "%zu seeds and %llu changed ones\n", seeds.size(),
               static_cast<unsigned long long>(runs));
  return 0;
}
