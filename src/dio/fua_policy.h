// What a dsync write needs of the device for one mapping: a pure function over facts.
#pragma once

#include <cstdint>

#include "base/planted_bug.h"

namespace handback {

struct FuaFacts {
  bool dsync = false;   // DSYNC or SYNC.
  bool sync = false;    // SYNC: all metadata too, so the file's own sync always runs.
  bool mapped = false;  // Written blocks, neither new nor shared.
  bool dirty = false;   // The mapping itself is not durable yet.
  bool volatile_cache = false;
  bool fua = false;
  bool extending = false;  // The file is longer with it, and its size is not durable yet.
};

enum class FuaChoice : std::uint8_t {
  none,           // Not a dsync write.
  write_through,  // The device has no volatile cache: a plain write is durable.
  fua,            // Mark the bios FUA: nothing is left to do afterwards.
  sync_after,     // Write plainly; the file syncs when the data is down.
};

[[nodiscard]] constexpr FuaChoice fua_policy(const FuaFacts& facts) noexcept {
  if (!facts.dsync) return FuaChoice::none;
  const bool dirty = facts.dirty && !planted(PlantedBug::fua_for_what_is_not_durable);
  if (facts.sync || !facts.mapped || dirty || facts.extending) return FuaChoice::sync_after;
  if (!facts.volatile_cache) return FuaChoice::write_through;
  return facts.fua || planted(PlantedBug::fua_without_fua) ? FuaChoice::fua : FuaChoice::sync_after;
}

}  // namespace handback
