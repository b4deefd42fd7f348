#include "kill_loops/verifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "common/failure.h"
#include "common/volume_session.h"
#include "kill_loops/names.h"
#include "kill_loops/unit_content.h"

namespace tool::kill_loops {
namespace {

class Verifier {
 public:
  Verifier(const VerifyOptions& options, SharedState& shared, handback::Volume& volume,
           handback::Issuer& issuer, VerifyResult& result)
      : options_(options),
        shared_(shared),
        volume_(volume),
        issuer_(issuer),
        result_(result),
        unit_bytes_(volume.device().geometry().logical_block_bytes) {}

  void all() {
    for (unsigned thread = 0; thread < options_.threads; ++thread) {
      if (!volume_.stat(folder_of(thread))) {
        // Its files could not be made before it.
        for (unsigned index = 0; index < slots_per_thread; ++index) {
          if (shared_.threads[thread].slots[index].exists != 0) {
            violation("{} is gone", folder_of(thread));
          }
        }
        continue;
      }
      for (unsigned index = 0; index < slots_per_thread; ++index)
        verify_slot(thread, index);
    }
    verify_log();
  }

 private:
  template <typename... Arguments>
  void violation(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    result_.violations.push_back(fmt::format(format, std::forward<Arguments>(arguments)...));
  }

  [[nodiscard]] std::optional<handback::FileInfo> stat(const std::string& path) {
    auto info = volume_.stat(path);
    if (info) return *info;
    if (info.error().code() != handback::Errc::not_found) throw failure_of(info.error(), path);
    return std::nullopt;
  }

  void verify_slot(unsigned thread, unsigned index);
  bool verify_file(const std::string& path, FileState& state);
  void verify_log();
  std::uint32_t id_of(const std::string& path);
  [[nodiscard]] handback::AlignedBuffer read(handback::File& file, std::uint64_t size,
                                             const std::string& path);

  const VerifyOptions& options_;
  SharedState& shared_;
  handback::Volume& volume_;
  handback::Issuer& issuer_;
  VerifyResult& result_;
  std::size_t unit_bytes_;
};

handback::AlignedBuffer Verifier::read(handback::File& file, std::uint64_t size,
                                       const std::string& path) {
  handback::AlignedBuffer buffer(std::max<std::uint64_t>(size, unit_bytes_));
  constexpr std::uint64_t step = 1 << 20;
  for (std::uint64_t offset = 0; offset < size; offset += step) {
    const std::uint64_t length = std::min(step, size - offset);
    handback::Aiocb aiocb;
    aiocb.prepare_read(file, offset, buffer.span().subspan(offset, length));
    const handback::IoResult result = issuer_.run(aiocb);
    if (!result.ok() || result.bytes() != length) throw failure_of(result, path);
  }
  result_.units_read += size / unit_bytes_;
  return buffer;
}

// The file that the first unit says it is of; 0 if it says nothing.
std::uint32_t Verifier::id_of(const std::string& path) {
  const auto file = value_of(volume_.open_file(issuer_, path), path);
  if (file->size() < unit_bytes_) return 0;
  const handback::AlignedBuffer bytes = read(*file, unit_bytes_, path);
  std::vector<std::byte> scratch(unit_bytes_);
  const auto mark = mark_of(bytes.span().first(unit_bytes_), scratch);
  return mark ? mark->id : 0;
}

void Verifier::verify_slot(unsigned thread, unsigned index) {
  Slot& slot = shared_.threads[thread].slots[index];
  const Pending pending = slot.pending;
  std::string path = name_of(thread, index, slot.name);
  const std::string next_path = name_of(thread, index, slot.name + 1);
  auto here = stat(path);
  const auto renamed = stat(next_path);
  if (pending == Pending::rename) {
    if (here.has_value() == renamed.has_value()) {
      violation("{}: a rename left {} of its two names", path, here ? "both" : "none");
    }
    if (renamed) {
      ++slot.name;
      path = next_path;
      here = renamed;
    }
  } else if (renamed) {
    violation("{}: is there and was never named so", next_path);
  }
  const bool may_exist = slot.exists != 0 || pending == Pending::create;
  const bool may_be_gone =
      slot.exists == 0 || pending == Pending::create || pending == Pending::remove;
  if (here && !may_exist) violation("{}: was removed and is there", path);
  if (!here && !may_be_gone) violation("{}: is gone", path);
  slot.exists = here ? 1 : 0;

  const std::string link = link_of(thread, index);
  const auto linked = stat(link);
  const bool may_be_linked = slot.linked != 0 || pending == Pending::link;
  const bool may_be_unlinked = slot.linked == 0 || pending == Pending::unlink;
  if (linked && !may_be_linked) violation("{}: is there and should not be", link);
  if (!linked && !may_be_unlinked) violation("{}: is gone", link);
  if (linked && here && (linked->ino != here->ino || here->nlink != 2)) {
    violation("{}: is not the same file as {}, or has {} names", link, path, here->nlink);
  }
  if (here && !linked && here->nlink != 1) violation("{}: has {} names", path, here->nlink);
  slot.linked = linked ? 1 : 0;
  slot.pending = Pending::none;

  if (here && pending == Pending::replace && id_of(path) == slot.files[1 - slot.current].id) {
    slot.current = 1 - slot.current;
  }
  if (here) verify_file(path, slot.files[slot.current]);
  // A file on its way to replace another is nobody's any more.
  if (stat(next_of(thread, index))) {
    value_of(volume_.unlink(next_of(thread, index)), next_of(thread, index));
  }
}

bool Verifier::verify_file(const std::string& path, FileState& state) {
  const auto file = value_of(volume_.open_file(issuer_, path), path);
  const std::size_t before = result_.violations.size();
  const std::uint64_t size_bytes = file->size();
  const auto size = static_cast<std::uint32_t>(size_bytes / unit_bytes_);
  if (size_bytes % unit_bytes_ != 0 || size < state.size_min || size > state.size_max) {
    violation("{}: has {} bytes, and {} to {} units of {} are possible", path, size_bytes,
              state.size_min.load(), state.size_max.load(), unit_bytes_);
    return false;
  }
  const handback::AlignedBuffer bytes = read(*file, size_bytes, path);
  std::vector<std::byte> scratch(unit_bytes_);
  for (std::uint32_t index = 0; index < file_units; ++index) {
    Unit& unit = state.units[index];
    std::uint32_t found = 0;
    if (index < size) {
      const auto content = bytes.span().subspan(index * unit_bytes_, unit_bytes_);
      if (!is_zero(content)) {
        const auto mark = mark_of(content, scratch);
        if (!mark || mark->id != state.id || mark->unit != index) {
          violation("{}: unit {} holds {}", path, index,
                    mark ? fmt::format("unit {} of file {} in version {}", mark->unit, mark->id,
                                       mark->version)
                         : "bytes of no whole version");
          continue;
        }
        found = static_cast<std::uint32_t>(mark->version);
      }
    }
    const std::uint32_t least = std::max<std::uint32_t>(unit.durable, unit.low);
    if (found == 0 ? unit.durable != 0 : found < least || found > unit.issued) {
      violation("{}: unit {} holds version {}; {} is durable, {} to {} are possible", path, index,
                found, unit.durable.load(), least, unit.issued.load());
    }
    unit.durable = found;
    unit.issued = found;
    unit.low = found != 0 ? found : state.version + 1;
  }
  state.size_min = size;
  state.size_max = size;
  return before == result_.violations.size();
}

void Verifier::verify_log() {
  const auto info = stat(log_path);
  const std::uint64_t size_bytes = info ? info->size_bytes : 0;
  const std::uint64_t size = size_bytes / unit_bytes_;
  for (std::uint64_t unit = size; unit < log_units_max; ++unit) {
    if (shared_.log_acknowledged[unit] != 0) {
      violation("{}: unit {} was acknowledged, and there are only {}", log_path, unit, size);
      break;
    }
  }
  if (!info) return;
  const auto file = value_of(volume_.open_file(issuer_, log_path), log_path);
  const handback::AlignedBuffer bytes = read(*file, size_bytes, log_path);
  std::vector<std::byte> scratch(unit_bytes_);
  std::vector<std::uint32_t> newest(threads_max);
  for (std::uint64_t unit = 0; unit < size && unit < log_units_max; ++unit) {
    const auto mark = mark_of(bytes.span().subspan(unit * unit_bytes_, unit_bytes_), scratch);
    if (!mark || mark->id != 0) {
      violation("{}: unit {} holds no append", log_path, unit);
      continue;
    }
    const auto thread = static_cast<unsigned>(mark->version >> 32) - 1;
    const auto number = static_cast<std::uint32_t>(mark->version);
    const std::uint64_t acknowledged = shared_.log_acknowledged[unit];
    if (acknowledged != 0 && acknowledged != mark->version) {
      violation("{}: unit {} holds another append than was acknowledged there", log_path, unit);
    }
    // A thread's appends stand in the order in which it made them, each once.
    if (thread >= options_.threads || number > shared_.threads[thread].log_issued ||
        number <= newest[thread]) {
      violation("{}: unit {} holds append {} of thread {}, out of order", log_path, unit, number,
                thread);
    } else {
      newest[thread] = number;
    }
    shared_.log_acknowledged[unit] = mark->version;
  }
  if (options_.empty_log) {
    value_of(file->truncate(issuer_, 0), log_path);
    value_of(file->fsync(issuer_), log_path);
    for (auto& acknowledged : shared_.log_acknowledged)
      acknowledged = 0;
  }
}

}  // namespace

VerifyResult verify(const VerifyOptions& options, SharedState& shared) {
  VerifyResult result;
  SessionOptions session_options;
  session_options.engine = options.engine;
  session_options.quiet = true;
  try {
    {
      const DeviceSession device(options.volume, session_options);
      const auto report =
          value_of(handback::check_volume(device.issuer(), device.device()), options.volume);
      for (const handback::CheckFinding& finding : report.findings) {
        result.violations.push_back(fmt::format("check: block {}, {}, {}: {}", finding.block,
                                                finding.structure, finding.field, finding.problem));
      }
    }
    session_options.writable = true;
    const DeviceSession session(options.volume, session_options);
    const auto volume =
        value_of(handback::Volume::open(session.issuer(), session.device()), options.volume);
    const handback::RecoveryReport& recovery = volume->recovery();
    result.recovered = !recovery.clean;
    result.records_replayed = recovery.records_replayed;
    result.writes_dropped = recovery.writes_dropped;
    Verifier(options, shared, *volume, session.issuer(), result).all();
    value_of(volume->sync(session.issuer()), options.volume);
    if (options.close) value_of(volume->close(session.issuer()), options.volume);
  } catch (const Failure& failure) {
    result.violations.emplace_back(failure.what());
  }
  return result;
}

}  // namespace tool::kill_loops
