#include "hostile/hostile_run.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "hostile/allocations.h"

namespace hostile {
namespace {

using handback::Errc;
using handback::FileType;

constexpr std::size_t buffer_bytes = 64 << 10;
constexpr unsigned operations = 50;
constexpr unsigned depth_max = 64;
constexpr std::size_t files_read_max = 64;

// "checkpoint (block 67), generation: 3 instead of 4" without the numbers and names.
std::string reason_of(const handback::Error& error) {
  std::string reason(handback::errc_name(error.code()));
  reason += ": ";
  bool quoted = false;
  for (const char c : error.message()) {
    if (c == '\'') quoted = !quoted;
    if (c == ';') break;
    const bool digit =
        (c >= '0' && c <= '9') || (reason.back() == '#' && ((c >= 'a' && c <= 'f') || c == 'x'));
    if (quoted || digit) {
      if (reason.back() != '#') reason += '#';
    } else if (c >= ' ' && c <= '~') {
      reason += c;
    }
  }
  return reason;
}

std::string violated(const std::string& rule, const std::string& detail = {}) {
  return detail.empty() ? rule : rule + ": " + detail;
}

}  // namespace

HostileRun::HostileRun() : buffer_(buffer_bytes) {
  auto issuer = handback::Issuer::create();
  if (!issuer) {
    std::cerr << issuer.error().message() << '\n';
    std::abort();
  }
  issuer_ = std::move(*issuer);
  for (BaseImage& image : base_images()) {
    auto device = std::make_unique<ImageDevice>(image.bytes);
    // All but the data area.
    metadata_blocks_ =
        image.bytes.size() / block_bytes -
        (number_at(image.bytes, header_bytes + 72) - number_at(image.bytes, header_bytes + 64));
    Target target(image);
    bases_.push_back({std::move(image), std::move(device), std::move(target)});
  }
}

HostileRun::~HostileRun() {
  issuer_.reset();
}

std::string HostileRun::try_image(std::uint64_t seed) {
  std::mt19937_64 random(seed * 0x9e3779b97f4a7c15);
  Base& base = bases_[random() % bases_.size()];
  base.target.damage(*base.device, random);
  ++counters_.images;
  std::string wrong = judge(*base.device, random);
  base.device->restore();
  if (!wrong.empty()) wrong = "base image '" + base.image.name + "': " + wrong;
  return wrong;
}

// Of one open or check: what it took.
std::string HostileRun::within_caps(const ImageDevice& device, const char* what) {
  const std::uint64_t blocks = device.bytes().size() / block_bytes;
  const std::uint64_t read = device.counters().blocks_read;
  counters_.blocks_read_max = std::max(counters_.blocks_read_max, read);
  // Twice the metadata, and once the data of the writes that nothing confirms.
  if (read > 2 * metadata_blocks_ + (blocks - metadata_blocks_))
    return violated("time", std::string(what) + " read " + std::to_string(read) + " blocks");
  const std::size_t before = allocated_bytes();
  const std::size_t peak = allocated_bytes_peak();
  const std::size_t took = peak > before ? peak - before : 0;
  counters_.allocated_max = std::max<std::uint64_t>(counters_.allocated_max, took);
  if (took > (std::size_t{64} << 20) + device.bytes().size() / 1024)
    return violated("memory", std::string(what) + " took " + std::to_string(took) + " bytes");
  return {};
}

std::string HostileRun::judge(ImageDevice& device, std::mt19937_64& random) {
  files_.clear();
  folders_ = {""};
  device.reset_counters();
  reset_allocated_peak();
  auto report = handback::check_volume(*issuer_, device);
  if (std::string wrong = within_caps(device, "check"); !wrong.empty()) return wrong;
  if (device.counters().writes != 0) return violated("check wrote");
  bool refuses = !report;
  if (report) {
    for (const auto& finding : report->findings)
      refuses |= finding.refuses_open;
  }
  device.reset_counters();
  reset_allocated_peak();
  auto opened = handback::Volume::open(*issuer_, device);
  if (std::string wrong = within_caps(device, "open"); !wrong.empty()) return wrong;
  if (!opened) {
    ++counters_.refused;
    ++counters_.reasons[reason_of(opened.error())];
    if (device.counters().writes != 0) return violated("a refused volume was written to");
    // Of numbers that are used up check says nothing: such a volume is whole.
    if (opened.error().code() == Errc::too_large && !refuses &&
        handback::Volume::open(*issuer_, device, {.read_only = true})) {
      return {};
    }
    if (!refuses)
      return violated("check finds nothing where open refuses", opened.error().message());
    if (!report && report.error().code() != opened.error().code())
      return violated("check and open differ", report.error().message());
    return {};
  }
  ++counters_.opened;
  // Whatever the reader left is behind the check now: a writer reads no more of it.
  if (device.counters().reads_after_a_write != 0)
    return violated("something was written before all had been read");
  if (refuses) return violated("open takes what check says it refuses");
  if (std::string wrong = read_folder(**opened, "", 0); !wrong.empty()) return wrong;
  operate(**opened, random);
  if (auto closed = (*opened)->close(*issuer_); !closed)
    return violated("closing failed", closed.error().message());
  opened->reset();
  return after_close(device);
}

std::string HostileRun::read_folder(handback::Volume& volume, const std::string& path,
                                    unsigned depth) {
  auto entries = volume.list(path.empty() ? "/" : path);
  if (!entries) return violated("listing failed", entries.error().message());
  for (const auto& entry : *entries) {
    const std::string name = path + "/" + entry.name;
    if (entry.info.type == FileType::directory) {
      folders_.push_back(name);
      if (depth == depth_max) continue;
      if (std::string wrong = read_folder(volume, name, depth + 1); !wrong.empty()) return wrong;
    } else {
      files_.push_back(name);
      if (files_.size() > files_read_max) continue;
      if (std::string wrong = read_file(volume, name); !wrong.empty()) return wrong;
    }
  }
  return {};
}

std::string HostileRun::read_file(handback::Volume& volume, const std::string& path) {
  auto file = volume.open_file(*issuer_, path);
  if (!file) return violated("opening a listed file failed", file.error().message());
  const auto read = [&](std::uint64_t offset, std::uint64_t length) -> std::string {
    if (offset >= (*file)->size()) return {};
    handback::Aiocb aiocb;
    aiocb.prepare_read(**file, offset,
                       buffer_.span().first(std::min<std::uint64_t>(length, buffer_bytes)));
    const handback::IoResult result = issuer_->run(aiocb);
    // Data or its checksum may have been hit.
    const bool told = result.code() == Errc::damaged && volume.info().data_checksums;
    return result.ok() || told ? std::string()
                               : violated("reading failed", handback::describe(result));
  };
  if (std::string wrong = read(0, buffer_bytes); !wrong.empty()) return wrong;
  for (const auto& extent : (*file)->extents()) {
    if (std::string wrong = read(extent.offset, extent.length); !wrong.empty()) return wrong;
  }
  const std::uint64_t size = (*file)->size();
  return size == 0 ? std::string() : read((size - 1) / block_bytes * block_bytes, block_bytes);
}

// Errors are allowed: a name may be there or not, and space may run out. Ending is not.
void HostileRun::operate(handback::Volume& volume, std::mt19937_64& random) {
  const auto any_file = [&]() -> std::string {
    return files_.empty() ? "/none" : files_[random() % files_.size()];
  };
  const auto new_name = [&] {
    return folders_[random() % folders_.size()] + "/n" + std::to_string(random() % 16);
  };
  for (unsigned i = 0; i < operations; ++i) {
    switch (random() % 12) {
      case 0:
        static_cast<void>(volume.mkdir(new_name()));
        break;
      case 1:
        static_cast<void>(volume.unlink(any_file()));
        break;
      case 2:
        static_cast<void>(volume.rename(any_file(), new_name()));
        break;
      case 3:
        static_cast<void>(volume.link(any_file(), new_name()));
        break;
      case 4:
        static_cast<void>(volume.rmdir(folders_[random() % folders_.size()]));
        break;
      case 5:
        if (random() % 4 == 0) static_cast<void>(volume.sync(*issuer_));
        break;
      case 6:
        static_cast<void>(volume.rename(folders_[random() % folders_.size()], new_name()));
        break;
      default: {
        const std::string name = random() % 2 == 0 ? any_file() : new_name();
        auto file = volume.open_file(*issuer_, name, {.create = true});
        if (!file) break;
        if (files_.size() < 256) files_.push_back(name);
        const std::uint64_t at = random() % 64 * 512;
        const std::uint64_t length = (1 + random() % 32) * 512;
        const std::uint64_t what = random() % 8;
        if (what == 0) {
          static_cast<void>(
              (*file)->truncate(*issuer_, random() % 3 == 0 ? at : (*file)->size() / 2));
        } else if (what == 1) {
          static_cast<void>((*file)->preallocate(at / 4096 * 4096, length));
        } else {
          handback::Aiocb aiocb;
          const auto flags = what == 2 ? handback::KiocbFlags::dsync : handback::KiocbFlags::none;
          aiocb.prepare_write(**file, at, buffer_.span().first(length), flags);
          static_cast<void>(issuer_->run(aiocb));
        }
      }
    }
  }
}

std::string HostileRun::after_close(ImageDevice& device) {
  const auto report = handback::check_volume(*issuer_, device);
  if (!report) return violated("check fails after close", report.error().message());
  for (const auto& finding : report->findings) {
    if (finding.refuses_open)
      return violated("a volume that was closed is refused",
                      finding.structure + ", " + finding.field + ": " + finding.problem);
  }
  auto again = handback::Volume::open(*issuer_, device, {.read_only = true});
  if (!again) return violated("a volume that was closed does not open", again.error().message());
  return {};
}

}  // namespace hostile
