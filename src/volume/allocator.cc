#include "volume/allocator.h"

#include <algorithm>
#include <vector>

#include "base/assert.h"
#include "base/planted_bug.h"

namespace handback {

Allocator::Allocator(std::uint64_t start, std::uint64_t end) : start_(start), end_(end) {
  if (start < end) add(start, end - start);
}

// Both trees in their own order: that takes the least time and memory.
Allocator::Allocator(std::uint64_t start, std::uint64_t end, std::span<const BlockRun> used)
    : start_(start), end_(end) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> sizes;
  std::uint64_t at = start;
  const auto free_until = [&](std::uint64_t next) {
    HB_ASSERT(at <= next && next <= end_, "what is used lies in the data area, without overlap");
    if (at == next) return;
    by_addr_.insert(by_addr_.end(), {at, next - at});
    sizes.emplace_back(next - at, at);
    free_blocks_ += next - at;
  };
  for (const BlockRun& run : used) {
    free_until(run.addr);
    at = run.addr + run.count;
  }
  free_until(end);
  std::sort(sizes.begin(), sizes.end());
  for (const auto& size : sizes)
    by_count_.insert(by_count_.end(), size);
}

void Allocator::add(std::uint64_t addr, std::uint64_t count) {
  by_addr_.insert({addr, count});
  by_count_.insert({count, addr});
  free_blocks_ += count;
}

Allocator::Map::iterator Allocator::remove(Map::iterator run) {
  by_count_.erase({run->second, run->first});
  free_blocks_ -= run->second;
  return by_addr_.erase(run);
}

BlockRun Allocator::take(Map::iterator run, std::uint64_t addr, std::uint64_t count) {
  const std::uint64_t run_addr = run->first;
  const std::uint64_t run_end = run->first + run->second;
  remove(run);
  if (run_addr < addr) add(run_addr, addr - run_addr);
  if (addr + count < run_end) {
    const std::uint64_t from =
        planted(PlantedBug::allocator_gives_a_block_twice) ? addr + count - 1 : addr + count;
    add(from, run_end - from);
  }
  return {addr, count};
}

std::optional<BlockRun> Allocator::allocate(std::uint64_t count, std::uint64_t goal) {
  if (by_addr_.empty() || count == 0) return std::nullopt;
  auto at_goal = by_addr_.upper_bound(goal);
  if (at_goal != by_addr_.begin()) {
    --at_goal;
    const std::uint64_t run_end = at_goal->first + at_goal->second;
    if (goal < run_end) return take(at_goal, goal, std::min(count, run_end - goal));
  }
  auto fit = by_count_.lower_bound({count, 0});
  if (fit == by_count_.end()) --fit;
  const auto run = by_addr_.find(fit->second);
  return take(run, run->first, std::min(count, run->second));
}

bool Allocator::reserve(BlockRun run) {
  if (run.addr < start_ || run.count > end_ - start_ || run.addr > end_ - run.count) return false;
  auto holder = by_addr_.upper_bound(run.addr);
  if (holder == by_addr_.begin()) return false;
  --holder;
  if (holder->first + holder->second < run.addr + run.count) return false;
  take(holder, run.addr, run.count);
  return true;
}

void Allocator::release(BlockRun run) {
  HB_ASSERT(run.addr >= start_ && run.addr + run.count <= end_,
            "only blocks of the data area are freed");
  auto next = by_addr_.lower_bound(run.addr);
  HB_ASSERT(next == by_addr_.end() || run.addr + run.count <= next->first, "a block is freed once");
  if (next != by_addr_.end() && run.addr + run.count == next->first) {
    run.count += next->second;
    next = remove(next);
  }
  if (next != by_addr_.begin()) {
    const auto previous = std::prev(next);
    HB_ASSERT(previous->first + previous->second <= run.addr, "a block is freed once");
    if (previous->first + previous->second == run.addr) {
      run.addr = previous->first;
      if (!planted(PlantedBug::allocator_loses_freed_blocks)) run.count += previous->second;
      remove(previous);
    }
  }
  add(run.addr, run.count);
}

}  // namespace handback
