#include "hostile/base_images.h"

#include <handback/memory_device.h>
#include <handback/volume.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "hostile/format_fields.h"
#include "hostile/image_device.h"

namespace hostile {
namespace {

using handback::AlignedBuffer;
using handback::KiocbFlags;

constexpr std::uint64_t volume_bytes = 4U << 20;

template <typename T>
T must(handback::Result<T>&& result) {
  if (!result) {
    std::cerr << "making a base image: " << result.error().message() << '\n';
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class Maker {
 public:
  explicit Maker(bool data_checksums = false)
      : device_(std::vector<std::byte>(volume_bytes)), issuer_(must(handback::Issuer::create())) {
    must(handback::Volume::format(*issuer_, device_,
                                  {.label = "hostile", .data_checksums = data_checksums}));
    open();
  }

  void open() { volume_ = must(handback::Volume::open(*issuer_, device_)); }
  void close() {
    must(volume_->close(*issuer_));
    volume_.reset();
  }
  void sync() { must(volume_->sync(*issuer_)); }
  handback::Volume& volume() { return *volume_; }
  handback::Issuer& issuer() { return *issuer_; }

  std::unique_ptr<handback::VolumeFile> file(const std::string& path) {
    return must(volume_->open_file(*issuer_, path, {.create = true}));
  }
  void write(handback::VolumeFile& file, std::uint64_t at, std::size_t bytes,
             KiocbFlags flags = KiocbFlags::none) {
    AlignedBuffer data(bytes);
    for (std::size_t i = 0; i < bytes; ++i)
      data.data()[i] = static_cast<std::byte>(i * 7 + at / 4096 + 1);
    handback::Aiocb aiocb;
    aiocb.prepare_write(file, at, data.span(), flags);
    if (!issuer_->run(aiocb).ok()) std::abort();
  }

  // Ends the volume as a killed process does, and returns what is on the device.
  std::vector<std::byte> image() {
    volume_.reset();
    std::vector<std::byte> bytes(device_.bytes().begin(), device_.bytes().end());
    replace_chance(bytes);
    return bytes;
  }

 private:
  // Numbers of the volume and times become constants.
  static void replace_chance(std::span<std::byte> image) {
    for (std::uint64_t block = 0; block < image.size() / block_bytes; ++block) {
      const std::uint64_t at = block * block_bytes;
      if (std::memcmp(image.data() + at, "HBmb", 4) != 0) continue;
      std::memset(image.data() + at + 8, 0x48, 16);
      seal(image, block);
    }
    for (const Field& field : fields_of(image)) {
      const std::string_view name = field.name;
      if (name != "mtime_ns" && name != "created_ns") continue;
      put_number(image, field.at, 1'700'000'000'000'000'000);
      seal(image, field.sealed);
    }
  }

  ImageDevice device_;
  std::unique_ptr<handback::Issuer> issuer_;
  std::unique_ptr<handback::Volume> volume_;
};

void use(Maker& maker) {
  must(maker.volume().mkdir("/d"));
  must(maker.volume().mkdir("/d/e"));
  must(maker.volume().mkdir("/empty"));
  auto a = maker.file("/d/a");
  maker.write(*a, 0, 32 << 10);
  auto b = maker.file("/d/e/b");
  maker.write(*b, 8192, 4096);
  maker.file("/c");
}

std::vector<std::byte> fresh() {
  return Maker().image();
}

std::vector<std::byte> closed() {
  Maker maker;
  use(maker);
  maker.close();
  maker.open();
  must(maker.volume().mkdir("/g"));
  maker.close();
  return maker.image();
}

// A checkpoint, and after it a log with every kind of change.
void log_everything(Maker& maker) {
  use(maker);
  maker.close();
  maker.open();
  {
    auto file = maker.file("/b");
    maker.write(*file, 0, 4096, KiocbFlags::dsync);
    maker.write(*file, 4096, 8192, KiocbFlags::dsync);
    must(file->truncate(maker.issuer(), 5000));
    must(file->set_mtime(5));
    maker.sync();
    maker.write(*file, 8192, 4096);
    maker.sync();
    must(file->preallocate(64 << 10, 16 << 10));
    must(file->punch(maker.issuer(), 4096, 4096));
  }
  maker.sync();
  must(maker.volume().rename("/b", "/d/c"));
  must(maker.volume().link("/d/c", "/e"));
  must(maker.volume().unlink("/d/a"));
  must(maker.volume().mkdir("/f"));
  maker.sync();
}

std::vector<std::byte> logged() {
  Maker maker;
  log_everything(maker);
  return maker.image();
}

std::vector<std::byte> torn() {
  Maker maker;
  log_everything(maker);
  std::vector<std::byte> image = maker.image();
  // The last record loses a byte.
  std::uint64_t last = 0;
  for (const Field& field : fields_of(image)) {
    if (std::string_view(field.structure) == "change") last = field.at;
  }
  if (last != 0) image[last] ^= std::byte{0xff};
  return image;
}

std::vector<std::byte> linked() {
  Maker maker;
  must(maker.volume().mkdir("/d"));
  maker.file("/one");
  for (int i = 0; i < 12; ++i)
    must(maker.volume().link("/one", (i % 2 == 0 ? "/name" : "/d/name") + std::to_string(i)));
  maker.close();
  maker.open();
  must(maker.volume().unlink("/one"));
  maker.sync();
  return maker.image();
}

std::vector<std::byte> scattered() {
  Maker maker;
  auto even = maker.file("/even");
  auto odd = maker.file("/odd");
  for (std::uint64_t i = 0; i < 150; ++i) {
    maker.write(*even, 2 * i * 4096, 4096);
    maker.write(*odd, 2 * (150 - i) * 4096, 4096);
  }
  even.reset();
  odd.reset();
  maker.close();
  return maker.image();
}

std::vector<std::byte> preallocated() {
  Maker maker;
  {
    auto file = maker.file("/p");
    must(file->preallocate(0, 512 << 10));
    maker.write(*file, 16 << 10, 4096);
    maker.write(*file, 64 << 10, 8192);
  }
  maker.close();
  maker.open();
  {
    auto file = maker.file("/p");
    maker.write(*file, 32 << 10, 4096, KiocbFlags::dsync);
    auto other = maker.file("/q");
    must(other->preallocate(0, 64 << 10));
  }
  maker.sync();
  return maker.image();
}

// Nothing confirms the last writes: what counts is their data.
std::vector<std::byte> unconfirmed() {
  Maker maker;
  auto file = maker.file("/u");
  maker.sync();
  for (std::uint64_t i = 0; i < 6; ++i)
    maker.write(*file, i * 4096, 4096, KiocbFlags::dsync);
  file.reset();
  return maker.image();
}

// At rest, with all checksums known.
std::vector<std::byte> checksummed() {
  Maker maker(true);
  use(maker);
  maker.close();
  return maker.image();
}

// The same, where the checkpoint calls the page stale.
std::vector<std::byte> stale() {
  std::vector<std::byte> image = checksummed();
  std::uint64_t count_at = 0;
  for (const Field& field : fields_of(image)) {
    if (std::string_view(field.name) == "stale_count") count_at = field.at;
  }
  // One block holds the checkpoint, and ends with the count.
  put_number(image, count_at, 1);
  const std::uint64_t block = count_at / block_bytes;
  const std::uint64_t length = count_at + 16 - block * block_bytes - header_bytes;
  put_number(image, block * block_bytes + 48, length, 4);
  seal(image, block);
  for (const std::uint64_t root : {std::uint64_t{1}, std::uint64_t{2}}) {
    put_number(image, root * block_bytes + header_bytes + 4, length);
    seal(image, root);
  }
  return image;
}

// Overwrites in place are in the log.
std::vector<std::byte> overwritten() {
  Maker maker(true);
  use(maker);
  maker.close();
  maker.open();
  {
    auto file = maker.file("/d/a");
    maker.write(*file, 4096, 4096, KiocbFlags::dsync);
    maker.write(*file, 32 << 10, 4096, KiocbFlags::dsync);
  }
  maker.sync();
  return maker.image();
}

constexpr std::pair<std::string_view, std::vector<std::byte> (*)()> makers[] = {
    {"fresh", &fresh},
    {"closed", &closed},
    {"logged", &logged},
    {"torn", &torn},
    {"linked", &linked},
    {"scattered", &scattered},
    {"preallocated", &preallocated},
    {"unconfirmed", &unconfirmed},
    {"checksummed", &checksummed},
    {"stale", &stale},
    {"overwritten", &overwritten}};

}  // namespace

BaseImage grown_image() {
  Maker maker;
  use(maker);
  maker.close();
  std::vector<std::byte> image = maker.image();
  image.resize(image.size() + (1U << 20));
  ImageDevice larger(image);
  const auto issuer = must(handback::Issuer::create());
  must(handback::Volume::grow(*issuer, larger));
  issuer->detach(larger);
  return {"grown", {larger.bytes().begin(), larger.bytes().end()}};
}

std::vector<BaseImage> base_images() {
  std::vector<BaseImage> images;
  for (const auto& [name, make] : makers)
    images.push_back({std::string(name), make()});
  return images;
}

const BaseImage& base_image(std::string_view name) {
  static std::map<std::string_view, BaseImage> made;
  const auto found = made.find(name);
  if (found != made.end()) return found->second;
  for (const auto& [known, make] : makers) {
    if (known == name)
      return made.emplace(known, BaseImage{std::string(known), make()}).first->second;
  }
  std::abort();
}

}  // namespace hostile
