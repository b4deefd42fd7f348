// Makes three directories in a volume, each made durable by itself, and is killed before it could
// close it.
#include <handback/host_device.h>
#include <handback/volume.h>

#include <csignal>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto device = handback::open_host_device(argv[1]);
  const auto issuer = handback::Issuer::create();
  if (!device || !issuer) return 1;
  const auto volume = handback::Volume::open(**issuer, **device);
  if (!volume) return 1;
  for (const char* name : {"/first", "/second", "/third"}) {
    if (!(*volume)->mkdir(name) || !(*volume)->sync(**issuer)) return 1;
  }
  return raise(SIGKILL);
}
