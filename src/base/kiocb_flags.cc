#include <fmt/format.h>

#include <handback/kiocb_flags.h>
#include <array>
#include <string_view>
#include <utility>

namespace handback {
namespace {

constexpr std::array<std::pair<KiocbFlags, std::string_view>, 13> flag_names{{
    {KiocbFlags::hipri, "HIPRI"},
    {KiocbFlags::dsync, "DSYNC"},
    {KiocbFlags::sync, "SYNC"},
    {KiocbFlags::nowait, "NOWAIT"},
    {KiocbFlags::append, "APPEND"},
    {KiocbFlags::atomic, "ATOMIC"},
    {KiocbFlags::dontcache, "DONTCACHE"},
    {KiocbFlags::direct, "DIRECT"},
    {KiocbFlags::write, "WRITE"},
    {KiocbFlags::waitq, "WAITQ"},
    {KiocbFlags::noio, "NOIO"},
    {KiocbFlags::alloc_cache, "ALLOC_CACHE"},
    {KiocbFlags::dio_defer, "DIO_DEFER"},
}};

}  // namespace

std::string to_string(KiocbFlags flags) {
  std::string text;
  for (const auto& [flag, name] : flag_names) {
    if (!has(flags, flag)) continue;
    if (!text.empty()) text += '|';
    text += name;
  }
  const auto unknown = static_cast<std::uint32_t>(flags & ~kiocb_flags_known);
  if (unknown != 0) {
    if (!text.empty()) text += '|';
    text += fmt::format("{:#x}", unknown);
  }
  return text.empty() ? "0" : text;
}

}  // namespace handback
