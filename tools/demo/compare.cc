#include "demo/compare.h"

#include <future>
#include <map>
#include <optional>

#include "common/copy_tree.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/read_files.h"
#include "common/sha256.h"

namespace tool {
namespace {

class HashSink : public FileSink {
 public:
  explicit HashSink(std::uint64_t total_bytes)
      : total_bytes_(total_bytes), progress_("reading back") {}

  bool wants(std::size_t) override { return true; }
  void begin(std::size_t) override { sha_.start(); }
  void data(std::size_t, std::uint64_t, std::span<const std::byte> bytes) override {
    sha_.add(bytes);
    bytes_ += bytes.size();
    progress_.update(bytes_, total_bytes_);
  }
  void end(std::size_t) override { digests_.push_back(sha_.finish()); }

  [[nodiscard]] const std::vector<Digest>& digests() const { return digests_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  Sha256 sha_;
  std::vector<Digest> digests_;
  std::uint64_t bytes_ = 0;
  std::uint64_t total_bytes_;
  Progress progress_;
};

// Nothing for a source that cannot be read any more.
std::vector<std::optional<Digest>> hash_sources(const HostTree& tree) {
  std::vector<std::optional<Digest>> digests;
  for (const auto& file : tree.files) {
    if (interrupted_by() != 0) break;
    try {
      digests.emplace_back(sha256_of_host_file(file.host_path));
    } catch (const Failure&) {
      digests.emplace_back(std::nullopt);
    }
  }
  return digests;
}

}  // namespace

Comparison compare_with_sources(handback::Volume& volume, handback::Issuer& issuer,
                                const HostTree& tree) {
  const std::uint64_t started_ns = monotonic_ns();
  auto sources = std::async(std::launch::async, hash_sources, std::cref(tree));

  Comparison comparison;
  const VolumeTree found = read_volume_tree(volume, {"/"}, "/");
  std::vector<std::string> paths;
  std::map<std::string, std::size_t> index_of;
  for (const auto& item : found.files) {
    index_of[item.volume_path] = paths.size();
    paths.push_back(item.volume_path);
  }
  HashSink sink(found.bytes);
  read_files(volume, issuer, paths, sink);
  comparison.elapsed_ns = monotonic_ns() - started_ns;
  const std::vector<std::optional<Digest>> expected = sources.get();
  if (interrupted_by() != 0)
    throw Failure(exit_signal_base + interrupted_by(), "stopped by a signal");

  comparison.bytes = sink.bytes();
  comparison.files = sink.digests().size();
  for (std::size_t i = 0; i < tree.files.size(); ++i) {
    const std::string& path = tree.files[i].volume_path;
    const auto place = index_of.find(path);
    if (place == index_of.end()) {
      comparison.mismatches.push_back({path, "missing in the volume"});
      continue;
    }
    if (!expected[i]) {
      comparison.mismatches.push_back({path, "its source cannot be read any more"});
    } else if (*expected[i] != sink.digests()[place->second]) {
      comparison.mismatches.push_back({path, "differs from " + tree.files[i].host_path});
    }
    index_of.erase(place);
  }
  for (const auto& [path, index] : index_of) {
    comparison.mismatches.push_back({path, "was never put into the volume"});
  }
  return comparison;
}

}  // namespace tool
