// The flags of a Kiocb: the kernel's IOCB_* names, with the kernel's bit values where it has them
// (include/linux/fs.h and the RWF_* values of uapi/linux/fs.h), and their printing in the kernel's
// notation.
//
// A flag that is not implemented for a file is refused with an IoDetail that names it, never
// ignored.
#pragma once

#include <cstdint>
#include <string>

namespace handback {

enum class KiocbFlags : std::uint32_t {
  none = 0,
  hipri = 1U << 0,      // Poll for the completion.
  dsync = 1U << 1,      // Data, and the metadata needed to read it, durable before completion.
  sync = 1U << 2,       // As dsync, and all other metadata of the file too. Implies dsync.
  nowait = 1U << 3,     // Fail with would_block rather than wait for another request or for memory.
  append = 1U << 4,     // Write at the end of the file; ki_pos receives the offset that was used.
  atomic = 1U << 6,     // Untorn write.
  dontcache = 1U << 7,  // Buffered I/O that drops its pages afterwards.
  direct = 1U << 17,    // Direct I/O.
  write = 1U << 18,     // The request writes.
  waitq = 1U << 19,     // The slot holds ki_waitq.
  noio = 1U << 20,      // Page cache only.
  alloc_cache = 1U << 21,  // Bios may come from the issuer's own pool (here they always do).
  dio_defer = 1U << 22,    // The issuer can run dio_complete later, from its own task context.
};

[[nodiscard]] constexpr KiocbFlags operator|(KiocbFlags a, KiocbFlags b) noexcept {
  return static_cast<KiocbFlags>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
[[nodiscard]] constexpr KiocbFlags operator&(KiocbFlags a, KiocbFlags b) noexcept {
  return static_cast<KiocbFlags>(static_cast<std::uint32_t>(a) & static_cast<std::uint32_t>(b));
}
[[nodiscard]] constexpr KiocbFlags operator~(KiocbFlags a) noexcept {
  return static_cast<KiocbFlags>(~static_cast<std::uint32_t>(a));
}
constexpr KiocbFlags& operator|=(KiocbFlags& a, KiocbFlags b) noexcept {
  return a = a | b;
}
constexpr KiocbFlags& operator&=(KiocbFlags& a, KiocbFlags b) noexcept {
  return a = a & b;
}

// True if any of the bits of `mask` is set in `flags`.
[[nodiscard]] constexpr bool has(KiocbFlags flags, KiocbFlags mask) noexcept {
  return (flags & mask) != KiocbFlags::none;
}

// Every bit that has a name.
inline constexpr KiocbFlags kiocb_flags_known =
    KiocbFlags::hipri | KiocbFlags::dsync | KiocbFlags::sync | KiocbFlags::nowait |
    KiocbFlags::append | KiocbFlags::atomic | KiocbFlags::dontcache | KiocbFlags::direct |
    KiocbFlags::write | KiocbFlags::waitq | KiocbFlags::noio | KiocbFlags::alloc_cache |
    KiocbFlags::dio_defer;

// Capabilities of an issuer rather than properties of the I/O: a request cloned for a lower layer
// starts without them (see Kiocb::init_clone).
inline constexpr KiocbFlags kiocb_flags_not_inheritable = KiocbFlags::dio_defer | KiocbFlags::waitq;

// The kernel's notation: names by rising bit, joined by '|', unknown bits last as 0x…:
// "DSYNC|DIRECT|WRITE". Nothing set prints as "0".
[[nodiscard]] std::string to_string(KiocbFlags flags);

}  // namespace handback
