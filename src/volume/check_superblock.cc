// Both copies of the superblock, and both roots: each by its own fields, and against the other.
#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "volume/check.h"
#include "volume/check_header.h"

namespace handback {
namespace {

using Problems = std::vector<FieldProblem>;

constexpr std::size_t label_bytes_max = 63;

// Field by field what superblock_decode() refuses as a whole, and what it does not look at.
struct CopyOfSuperblock {
  std::optional<Superblock> good;  // Opening takes it.
  std::optional<Error> error;      // Or why not.
  Problems problems;
};

void check_layout_fields(const Layout& layout, std::uint64_t formatted_blocks, bool checksums,
                         Problems* problems) {
  const Layout right = checksums ? layout_for(layout.total_blocks, true)
                                 : layout_grown(formatted_blocks, layout.total_blocks);
  const auto field = [&](const char* name, std::uint64_t is, std::uint64_t should) {
    if (is == should) return;
    problems->push_back(
        {name, fmt::format("is {}, but {} for {} blocks", is, should, layout.total_blocks)});
  };
  field("log_start", layout.log_start, right.log_start);
  field("log_blocks", layout.log_blocks, right.log_blocks);
  field("slot_start[0]", layout.slot_start[0], right.slot_start[0]);
  field("slot_start[1]", layout.slot_start[1], right.slot_start[1]);
  field("slot_blocks", layout.slot_blocks, right.slot_blocks);
  field("data_start", layout.data_start, right.data_start);
  field("data_end", layout.data_end, right.data_end);
}

void check_superblock_fields(std::span<const std::byte> payload, Problems* problems) {
  ByteReader in(payload);
  static_cast<void>(in.get<std::uint16_t>());
  const auto minor = in.get<std::uint16_t>();
  const auto block_bytes = in.get<std::uint32_t>();
  const auto features = in.get<std::uint64_t>();
  Layout layout;
  layout.total_blocks = in.get<std::uint64_t>();
  layout.log_start = in.get<std::uint64_t>();
  layout.log_blocks = in.get<std::uint64_t>();
  layout.slot_start[0] = in.get<std::uint64_t>();
  layout.slot_start[1] = in.get<std::uint64_t>();
  layout.slot_blocks = in.get<std::uint64_t>();
  layout.data_start = in.get<std::uint64_t>();
  layout.data_end = in.get<std::uint64_t>();
  static_cast<void>(in.get<std::int64_t>());
  const std::string_view label = in.get_string();
  const bool grown = (features & feature_grown) != 0;
  const auto formatted = grown ? in.get<std::uint64_t>() : layout.total_blocks;
  if (!in.ok()) {
    problems->push_back({"payload_bytes", "is too short for its fields"});
    return;
  }
  if (block_bytes != fs_block)
    problems->push_back({"fs_block_bytes", fmt::format("is {}, not {}", block_bytes, fs_block)});
  if (layout.total_blocks < volume_size_bytes_min / fs_block ||
      layout.total_blocks > volume_size_bytes_max / fs_block) {
    problems->push_back(
        {"total_blocks", fmt::format("is {}, which is out of bounds", layout.total_blocks)});
  } else if (grown &&
             (formatted < volume_size_bytes_min / fs_block || formatted >= layout.total_blocks)) {
    problems->push_back(
        {"formatted_blocks", fmt::format("is {}, which is out of bounds", formatted)});
  } else {
    const bool checksums = (features & feature_data_checksums) != 0;
    if (grown && checksums) {
      problems->push_back(
          {"incompatible_features", "a volume with data checksums cannot have grown"});
    }
    check_layout_fields(layout, formatted, checksums, problems);
  }
  if (label.size() > label_bytes_max || label.find('\0') != std::string_view::npos)
    problems->push_back({"label", "is longer than 63 bytes or holds a NUL"});
  if (minor == format_version_minor && in.remaining() != 0)
    problems->push_back({"payload_bytes", "bytes are left over behind the label"});
}

CopyOfSuperblock read_copy(std::span<const std::byte> block, std::uint64_t address) {
  CopyOfSuperblock copy;
  auto decoded = superblock_decode(block, address);
  if (decoded) {
    copy.good = std::move(*decoded);
  } else {
    copy.error = std::move(decoded.error());
  }
  MetaHeader header;
  const MetaFault fault = meta_open(block, MetaType::superblock, address, nullptr, &header);
  if (fault != MetaFault::none) {
    copy.problems.push_back({std::string(field_of(fault)), std::string(to_string(fault))});
    return copy;
  }
  check_header_fields(block, header, &copy.problems);
  if (copy.error && copy.error->code() == Errc::version) {
    const bool other_major =
        ByteReader(meta_payload(block, header)).get<std::uint16_t>() != format_version_major;
    copy.problems.push_back(
        {other_major ? "version_major" : "incompatible_features", copy.error->message()});
    return copy;
  }
  check_superblock_fields(meta_payload(block, header), &copy.problems);
  if (copy.error && copy.problems.empty())
    copy.problems.push_back({"contents", copy.error->message()});
  return copy;
}

// The first field in which two copies differ that should not.
std::optional<FieldProblem> difference(const Superblock& first, const Superblock& second) {
  const auto differs = [](const char* field) {
    return FieldProblem{field, "differs from the copy in block 0"};
  };
  if (first.volume_id != second.volume_id) return differs("volume_id");
  if (first.version_minor != second.version_minor) return differs("version_minor");
  if (first.layout != second.layout) return differs("total_blocks");
  if (first.incompatible_features != second.incompatible_features)
    return differs("incompatible_features");
  if (first.formatted_blocks != second.formatted_blocks) return differs("formatted_blocks");
  if (first.created_ns != second.created_ns) return differs("created_ns");
  if (first.label != second.label) return differs("label");
  return std::nullopt;
}

Problems root_problems(std::span<const std::byte> block, const Superblock& superblock,
                       std::uint64_t address) {
  Problems problems;
  MetaHeader header;
  const MetaFault fault = meta_open(block, MetaType::root, address, &superblock.volume_id, &header);
  if (fault != MetaFault::none) {
    problems.push_back({std::string(field_of(fault)), std::string(to_string(fault))});
    return problems;
  }
  check_header_fields(block, header, &problems);
  ByteReader in(meta_payload(block, header));
  constexpr std::uint64_t number_max = std::uint64_t{1} << 62;
  const auto bounded = [&](const char* field, std::uint64_t value, std::uint64_t least,
                           std::uint64_t most) {
    if (value >= least && value <= most) return;
    problems.push_back({field, fmt::format("is {}, which is out of bounds", value)});
  };
  bounded("generation", header.generation, 1, number_max);
  bounded("slot", in.get<std::uint32_t>(), 0, 1);
  // The header of a checkpoint, and the root directory.
  bounded("checkpoint_bytes", in.get<std::uint64_t>(), 0,
          superblock.layout.slot_blocks * meta_payload_bytes_max);
  bounded("log_position", in.get<std::uint64_t>(), 0, number_max);
  bounded("log_sequence", in.get<std::uint64_t>(), 1, number_max);
  bounded("next_write_id", in.get<std::uint64_t>(), 1, number_max);
  const auto oldest = in.get<std::uint16_t>();
  if (!in.ok()) return {{"payload_bytes", "is too short for its fields"}};
  if (oldest > superblock.version_minor && oldest > format_version_minor)
    problems.push_back({"oldest_minor", fmt::format("is {}, newer than the volume", oldest)});
  if (superblock.version_minor == format_version_minor && in.remaining() != 0)
    problems.push_back({"payload_bytes", "bytes are left over behind the fields"});
  return problems;
}

// Of two roots of one generation.
std::optional<std::string> difference(const Root& first, const Root& second) {
  if (first.slot != second.slot) return "slot";
  if (first.checkpoint_bytes != second.checkpoint_bytes) return "checkpoint_bytes";
  if (first.log_position != second.log_position) return "log_position";
  if (first.log_sequence != second.log_sequence) return "log_sequence";
  if (first.next_write_id != second.next_write_id) return "next_write_id";
  if (first.oldest_minor != second.oldest_minor) return "oldest_minor";
  return std::nullopt;
}

}  // namespace

Result<void> VolumeCheck::check_superblocks() {
  if (device_blocks_ == 0) {
    return fail(Errc::invalid,
                fmt::format("{}: too short to hold a volume; is the path right?", device_.name()));
  }
  AlignedBuffer block(fs_block);
  if (Step step = read(superblock_block, block); !step) return step;
  CopyOfSuperblock first = read_copy(block.span(), superblock_block);
  if (first.error && first.error->code() == Errc::version)
    return tl::unexpected<Error>(std::move(*first.error));
  // Where the volume's end is only block 0 can tell.
  const std::uint64_t second_at =
      first.good ? first.good->layout.total_blocks - 1 : device_blocks_ - 1;
  if (second_at >= device_blocks_) {
    findings_.refused(superblock_block, "superblock", "total_blocks",
                      fmt::format("the volume has {} bytes but {} has only {}: it was cut off",
                                  first.good->layout.total_blocks * fs_block, device_.name(),
                                  device_.geometry().size_bytes),
                      "the volume cannot be opened; restore the missing end");
    return {};
  }
  if (Step step = read(second_at, block); !step) return step;
  CopyOfSuperblock second = read_copy(block.span(), second_at);
  if (!first.good && second.error && second.error->code() == Errc::version)
    return tl::unexpected<Error>(std::move(*second.error));
  if (!first.good && !second.good) {
    if (first.error->code() == Errc::invalid) {
      return fail(Errc::invalid,
                  fmt::format("{}: holds no Handback volume; is the path right? 'handback format' "
                              "makes one",
                              device_.name()));
    }
    for (const FieldProblem& problem : first.problems)
      findings_.refused(superblock_block, "superblock", problem.field, problem.problem);
    for (const FieldProblem& problem : second.problems)
      findings_.refused(second_at, "superblock", problem.field, problem.problem);
    return {};
  }
  superblock_ = first.good ? first.good : second.good;
  recovery_.backup_superblock_used = !first.good;
  // What a good copy holds that it should not has no remedy: the other has it as well, or who is
  // right cannot be told.
  for (const FieldProblem& problem : first.problems) {
    findings_.noticed(superblock_block, "superblock", problem.field, problem.problem,
                      first.good ? "none; opening does not look at it"
                                 : "the backup in the last block is used instead",
                      first.good ? Remedy::none : Remedy::superblock);
  }
  for (const FieldProblem& problem : second.problems) {
    findings_.noticed(second_at, "superblock", problem.field, problem.problem,
                      second.good ? "none; opening does not look at it"
                                  : "none while block 0 is good; there is no second copy to fall "
                                    "back on",
                      second.good ? Remedy::none : Remedy::superblock);
  }
  if (first.good && second.good) {
    if (const auto differs = difference(*first.good, *second.good)) {
      findings_.noticed(second_at, "superblock", differs->field, differs->problem,
                        "block 0 is used; if it is damaged one day, another volume appears");
    }
  }
  const std::uint64_t total = superblock_->layout.total_blocks;
  if (total > device_blocks_) {
    findings_.refused(second_at, "superblock", "total_blocks",
                      fmt::format("the volume has {} bytes but {} has only {}: it was cut off",
                                  total * fs_block, device_.name(), device_.geometry().size_bytes),
                      "the volume cannot be opened; restore the missing end");
    superblock_.reset();
  } else if (second.good && second_at != second.good->layout.total_blocks - 1 && !first.good) {
    findings_.noticed(second_at, "superblock", "total_blocks",
                      fmt::format("is {}, but the backup lies in block {}", total, second_at),
                      "the backup does not lie where a volume of this size has it");
  }
  return {};
}

Result<void> VolumeCheck::check_roots() {
  std::array<std::optional<Root>, 2> roots;
  std::array<Problems, 2> problems;
  AlignedBuffer block(fs_block);
  for (std::size_t i = 0; i < root_blocks.size(); ++i) {
    if (Step step = read(root_blocks[i], block); !step) return step;
    problems[i] = root_problems(block.span(), *superblock_, root_blocks[i]);
    if (auto decoded = root_decode(block.span(), *superblock_, root_blocks[i])) {
      roots[i] = *decoded;
    } else if (problems[i].empty()) {
      problems[i].push_back({"contents", decoded.error().message()});
    }
  }
  if (!roots[0] && !roots[1]) {
    for (std::size_t i = 0; i < root_blocks.size(); ++i) {
      for (const FieldProblem& problem : problems[i])
        findings_.refused(root_blocks[i], "root", problem.field, problem.problem);
    }
    return {};
  }
  root_copy_ = roots[0] && (!roots[1] || roots[0]->generation >= roots[1]->generation) ? 0 : 1;
  root_ = roots[root_copy_];
  recovery_.checkpoint_generation = root_->generation;
  for (std::size_t i = 0; i < root_blocks.size(); ++i) {
    for (const FieldProblem& problem : problems[i]) {
      findings_.noticed(
          root_blocks[i], "root", problem.field, problem.problem,
          roots[i] ? "none; opening does not look at it"
                   : "the other root is used; a write of this one was cut off, or the block "
                     "decayed; the next checkpoint rewrites it",
          roots[i] ? Remedy::none : Remedy::root);
    }
    if (!roots[i]) damaged_root_ = i;
  }
  if (!roots[0] || !roots[1]) return {};
  const std::uint64_t first = roots[0]->generation;
  const std::uint64_t second = roots[1]->generation;
  if (first == second) {
    if (const auto field = difference(*roots[0], *roots[1])) {
      findings_.noticed(root_blocks[1], "root", *field,
                        "differs from the root in block 1, which has the same generation",
                        "the root in block 1 is used; if it is damaged one day, another state of "
                        "the volume appears");
    }
  } else if (std::max(first, second) - std::min(first, second) > 1) {
    // One behind is what a crash between the two leaves.
    const std::size_t older = first < second ? 0 : 1;
    findings_.noticed(
        root_blocks[older], "root", "generation",
        fmt::format("is {}, but {} in block {}: writes were lost", std::min(first, second),
                    std::max(first, second), root_blocks[1 - older]),
        "the other root is used; there is no second copy to fall back on", Remedy::root);
  }
  return {};
}

}  // namespace handback
