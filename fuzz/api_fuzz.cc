// Calls of the volume, in any order, on names and ranges from a small set; closed, killed and
// opened again in between; what a file holds is compared with a copy in memory.
// Input: one byte a call, then its arguments.
#include <handback/memory_device.h>

#include <array>
#include <cstring>
#include <map>

#include "fuzz/image_under_test.h"
#include "hostile/format_fields.h"

namespace fuzz {
namespace {

using handback::AlignedBuffer;
using handback::KiocbFlags;
using handback::Volume;
using handback::VolumeFile;

[[noreturn]] void broken(const char* what, const std::string& detail = {}) {
  std::fprintf(stderr, "%s %s\n", what, detail.c_str());
  std::abort();
}

constexpr std::array<const char*, 8> names{"/a",   "/b",   "/d",     "/d/a",
                                           "/d/b", "/d/e", "/d/e/a", "/x"};

class Session {
 public:
  Session() : device_(base_image("fresh").bytes), issuer_(std::move(*handback::Issuer::create())) {
    open();
  }

  void call(Reader& in) {
    const std::string name = names[in.number(1) % names.size()];
    switch (in.number(1) % 14) {
      case 0:
        static_cast<void>(volume_->mkdir(name));
        break;
      case 1:
        drop(name);
        static_cast<void>(volume_->unlink(name));
        break;
      case 2:
        static_cast<void>(volume_->rmdir(name));
        break;
      case 3:
        drop_all();
        static_cast<void>(volume_->rename(name, names[in.number(1) % names.size()]));
        break;
      case 4:
        drop_all();
        static_cast<void>(volume_->link(name, names[in.number(1) % names.size()]));
        break;
      case 5:
        static_cast<void>(volume_->sync(*issuer_));
        break;
      case 6:
        static_cast<void>(volume_->sync_directory(*issuer_, name));
        break;
      case 7:
        if (auto closed = volume_->close(*issuer_); !closed)
          broken("close:", closed.error().message());
        open();
        break;
      case 8:
        // As if killed: what was not synced may be gone.
        drop_all();
        open();
        break;
      case 9:
        truncate(name, in.number(2) * 37);
        break;
      case 10:
        if (auto file = volume_->open_file(*issuer_, name))
          static_cast<void>((*file)->preallocate(in.number(1) * 4096, 1 + in.number(2)));
        break;
      default:
        write(name, in.number(1) % 64 * 512, (1 + in.number(1) % 32) * 512, in.number(1));
    }
  }

  void end() {
    compare();
    if (auto closed = volume_->close(*issuer_); !closed) broken("close:", closed.error().message());
    volume_.reset();
    const auto report = handback::check_volume(*issuer_, device_);
    if (!report) broken("check:", report.error().message());
    if (!report->findings.empty()) broken("check:", report->findings[0].problem);
    open();
    compare();
    volume_.reset();
  }

 private:
  void open() {
    volume_.reset();
    auto opened = Volume::open(*issuer_, device_);
    if (!opened) broken("open:", opened.error().message());
    volume_ = std::move(*opened);
  }
  // From here on what it holds is not known: other names lead to it, or it may be gone.
  void drop(const std::string& /*name*/) { drop_all(); }
  void drop_all() { known_.clear(); }

  void write(const std::string& name, std::uint64_t at, std::uint64_t length, std::uint64_t fill) {
    auto file = volume_->open_file(*issuer_, name, {.create = true});
    if (!file) return;
    const bool fresh = (*file)->size() == 0 && (*file)->info().nlink == 1;
    AlignedBuffer data(length);
    std::memset(data.data(), static_cast<int>(fill & 0xff), data.size());
    handback::Aiocb aiocb;
    aiocb.prepare_write(**file, at, data.span().first(length),
                        fill % 3 == 0 ? KiocbFlags::dsync : KiocbFlags::none);
    if (!issuer_->run(aiocb).ok()) {
      drop_all();
      return;
    }
    if (!fresh && !known_.contains(name)) return;
    std::vector<std::uint8_t>& bytes = known_[name];
    if (bytes.size() < at + length) bytes.resize(at + length);
    std::memset(bytes.data() + at, static_cast<int>(fill & 0xff), length);
  }
  void truncate(const std::string& name, std::uint64_t size) {
    auto file = volume_->open_file(*issuer_, name);
    if (!file) return;
    if (!(*file)->truncate(*issuer_, size)) broken("truncate:", name);
    if (known_.contains(name)) known_[name].resize(size);
  }
  void compare() {
    for (const auto& [name, bytes] : known_) {
      auto file = volume_->open_file(*issuer_, name);
      if (!file) broken("a file is gone:", name);
      if ((*file)->size() != bytes.size()) broken("another size:", name);
      if (bytes.empty()) continue;
      AlignedBuffer data((bytes.size() + 511) / 512 * 512);
      handback::Aiocb aiocb;
      aiocb.prepare_read(**file, 0, data.span());
      const auto result = issuer_->run(aiocb);
      if (!result.ok() || result.bytes() != bytes.size()) broken("a read ends early:", name);
      if (std::memcmp(data.data(), bytes.data(), bytes.size()) != 0) broken("other bytes:", name);
    }
  }

  hostile::ImageDevice device_;
  std::unique_ptr<handback::Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::map<std::string, std::vector<std::uint8_t>> known_;  // Files with one name, since made.
};

}  // namespace

void run(std::span<const std::uint8_t> input) {
  Session session;
  Reader in(input.first(std::min<std::size_t>(input.size(), 4096)));
  while (!in.empty())
    session.call(in);
  session.end();
}

std::vector<Input> seeds() {
  std::vector<Input> list{{}};
  // Each call once, behind a few that make something.
  for (std::uint8_t call = 0; call < 14; ++call) {
    list.push_back(
        {0, 11, 0, 8, 3, 2, 0, 3, 11, 4, 4, 5, 0, call, 3, 9, 200, 1, 0, 7, 0, 11, 9, 9, 9});
  }
  return list;
}

}  // namespace fuzz
