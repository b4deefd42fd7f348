// What a check has found, bounded whatever an image holds.
#pragma once

#include <handback/volume.h>

#include <string>
#include <utility>
#include <vector>

namespace handback {

// What a repair does about a finding.
enum class Remedy : std::uint8_t {
  none,        // Nothing is provably safe.
  superblock,  // The damaged copy is written anew from the other.
  root,        // The same.
  checkpoint,  // Counts that follow from the rest are corrected, in a new checkpoint.
};

class Findings {
 public:
  static constexpr const char* lost = "the volume cannot be opened; restore it from a copy";

  // Something for which the volume is not opened.
  void refused(std::uint64_t block, std::string structure, std::string field, std::string problem,
               std::string consequence = lost, Remedy remedy = Remedy::none) {
    refused_ = true;
    add({block, std::move(structure), std::move(field), std::move(problem), std::move(consequence),
         true},
        remedy);
  }
  // Something that opening can do without.
  void noticed(std::uint64_t block, std::string structure, std::string field, std::string problem,
               std::string consequence, Remedy remedy = Remedy::none) {
    add({block, std::move(structure), std::move(field), std::move(problem), std::move(consequence),
         false},
        remedy);
  }

  [[nodiscard]] bool any_refused() const noexcept { return refused_; }
  [[nodiscard]] std::uint64_t total() const noexcept { return total_; }
  [[nodiscard]] const std::vector<CheckFinding>& list() const noexcept { return list_; }
  // Of list()[i].
  [[nodiscard]] Remedy remedy(std::size_t i) const noexcept { return remedies_[i]; }

 private:
  void add(CheckFinding finding, Remedy remedy) {
    ++total_;
    if (list_.size() == check_findings_max) return;
    list_.push_back(std::move(finding));
    remedies_.push_back(remedy);
  }

  std::vector<CheckFinding> list_;
  std::vector<Remedy> remedies_;
  std::uint64_t total_ = 0;
  bool refused_ = false;
};

}  // namespace handback
