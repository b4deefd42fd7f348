// A program outside the tree: a volume in memory, one file, one durable write, and the same bytes
// back.
#include <handback/handback.h>

#include <cstdio>
#include <cstring>

namespace {

template <typename T>
T value_or_exit(handback::Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.error().message().c_str());
  std::exit(1);
}

void check(const handback::Result<void>& result) {
  if (result) return;
  std::fprintf(stderr, "%s\n", result.error().message().c_str());
  std::exit(1);
}

void check(handback::IoResult result, std::uint32_t bytes) {
  if (result.ok() && result.bytes() == bytes) return;
  std::fprintf(stderr, "%s\n", handback::describe(result).c_str());
  std::exit(1);
}

}  // namespace

int main() {
  constexpr std::uint32_t length = 64 * 1024;
  const auto device = handback::make_memory_device();
  const auto issuer = value_or_exit(handback::Issuer::create());
  check(handback::Volume::format(*issuer, *device));

  handback::AlignedBuffer written(length);
  handback::AlignedBuffer read(length);
  for (std::size_t i = 0; i < length; ++i)
    written.data()[i] = static_cast<std::byte>(i * 7 + i / 256);
  {
    const auto volume = value_or_exit(handback::Volume::open(*issuer, *device));
    auto file = value_or_exit(volume->open_file(*issuer, "/greeting", {.create = true}));
    handback::Aiocb aiocb;
    aiocb.prepare_write(*file, 0, written.span(), handback::KiocbFlags::dsync);
    check(issuer->run(aiocb), length);
    file.reset();
    check(volume->close(*issuer));
  }
  const auto volume = value_or_exit(handback::Volume::open(*issuer, *device));
  auto file = value_or_exit(volume->open_file(*issuer, "/greeting"));
  handback::Aiocb aiocb;
  aiocb.prepare_read(*file, 0, read.span());
  check(issuer->run(aiocb), length);
  if (std::memcmp(written.data(), read.data(), length) != 0) {
    std::fprintf(stderr, "the bytes read are not the bytes written\n");
    return 1;
  }
  file.reset();
  check(volume->close(*issuer));
  std::printf("handback %s: %u bytes written, read back and equal\n", HB_VERSION_STRING, length);
  return 0;
}
