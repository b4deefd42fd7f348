// Makes a file of 1 TiB and 5 bytes in a volume that has 4 KiB of content at 1 MiB, and is a hole
// otherwise.
#include <handback/host_device.h>
#include <handback/volume.h>

#include <cstring>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto device = handback::open_host_device(argv[1]);
  const auto issuer = handback::Issuer::create();
  if (!device || !issuer) return 1;
  const auto volume = handback::Volume::open(**issuer, **device);
  if (!volume) return 1;
  {
    const auto file = (*volume)->open_file(**issuer, "/sparse", {.create = true});
    if (!file) return 1;
    const handback::AlignedBuffer buffer(4096);
    std::memset(buffer.data(), 'h', buffer.size());
    handback::Aiocb write;
    write.prepare_write(**file, 1 << 20, buffer.span());
    if (!(*issuer)->run(write).ok()) return 1;
    if (!(*file)->truncate(**issuer, (std::uint64_t{1} << 40) + 5)) return 1;
  }
  return (*volume)->close(**issuer) ? 0 : 1;
}
