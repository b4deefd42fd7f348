// Apart from host_geometry.cc because the two `struct statx` that the system's headers define may
// be older than the field needed here.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

#include "ring/host_geometry.h"

namespace handback {
namespace {

// The kernel's answer to statx(), as far as it matters here; its layout is the kernel's for good.
struct StatxAnswer {
  std::uint32_t mask;
  std::uint32_t not_used_here[37];
  std::uint32_t dio_memory_alignment_bytes;
  std::uint32_t dio_offset_alignment_bytes;
  std::uint32_t later_fields[24];
};
static_assert(offsetof(StatxAnswer, dio_memory_alignment_bytes) == 0x98);
static_assert(sizeof(StatxAnswer) == 0x100);

constexpr unsigned statx_dioalign = 0x2000;

}  // namespace

std::optional<DirectAlignment> ask_direct_alignment(int fd) {
  StatxAnswer answer{};
  if (::syscall(SYS_statx, fd, "", AT_EMPTY_PATH, statx_dioalign, &answer) != 0)
    return std::nullopt;
  if ((answer.mask & statx_dioalign) == 0) return std::nullopt;
  // 0 says that this file has no direct I/O; opening it with O_DIRECT may have worked all the same.
  if (answer.dio_offset_alignment_bytes == 0) return std::nullopt;
  return DirectAlignment{answer.dio_memory_alignment_bytes, answer.dio_offset_alignment_bytes};
}

}  // namespace handback
