#include "sim/history.h"

#include <algorithm>

#include "sim/sim_random.h"

namespace handback::sim {
namespace {

constexpr NodeId no_node = ~NodeId{0};

std::string below(std::string_view path) {
  return std::string(path) + "/";
}

}  // namespace

History::History() {
  nodes_.push_back({.directory = true, .base = {}});
  sizes_.push_back(0);
}

NodeId History::add_node(bool directory) {
  nodes_.push_back({.directory = directory, .base = {}});
  sizes_.push_back(0);
  return static_cast<NodeId>(nodes_.size() - 1);
}

void History::set_base_file(NodeId node, std::uint64_t size, std::vector<Stamp> base) {
  nodes_[node].base_size = size;
  nodes_[node].base = std::move(base);
  sizes_[node] = size;
}

const NodeId* History::find(std::string_view path) const {
  const auto found = names_.find(std::string(path));
  return found == names_.end() ? nullptr : &found->second;
}

NodeId History::directory_of(std::string_view path) const {
  const std::size_t slash = path.rfind('/');
  if (slash == 0) return 0;
  const NodeId* const parent = find(path.substr(0, slash));
  return parent != nullptr && is_directory(*parent) ? *parent : no_node;
}

bool History::has_children(std::string_view path) const {
  const std::string prefix = below(path);
  const auto next = names_.lower_bound(prefix);
  return next != names_.end() && next->first.starts_with(prefix);
}

bool History::try_create(std::string_view path, bool directory, Names* after,
                         std::vector<NodeId>* touched) {
  const NodeId parent = directory_of(path);
  if (parent == no_node || find(path) != nullptr) return false;
  const NodeId node = add_node(directory);
  *after = names_;
  (*after)[std::string(path)] = node;
  *touched = {parent, node};
  return true;
}

bool History::try_remove(std::string_view path, bool directory, Names* after,
                         std::vector<NodeId>* touched) const {
  const NodeId* const node = find(path);
  if (node == nullptr || is_directory(*node) != directory) return false;
  if (directory && has_children(path)) return false;
  *after = names_;
  after->erase(std::string(path));
  *touched = {directory_of(path)};
  return true;
}

bool History::try_rename(std::string_view from, std::string_view to, Names* after,
                         std::vector<NodeId>* touched) const {
  const NodeId* const source = find(from);
  const NodeId* const target = find(to);
  if (source == nullptr || directory_of(to) == no_node) return false;
  const bool directory = is_directory(*source);
  if (directory && to.starts_with(below(from))) return false;
  // Two names of one file, or the same name twice: nothing happens.
  if (target != nullptr && *target == *source) {
    *after = names_;
    return true;
  }
  if (target != nullptr && (is_directory(*target) != directory || has_children(to))) return false;
  *touched = {directory_of(from), directory_of(to)};
  *after = names_;
  after->erase(std::string(from));
  (*after)[std::string(to)] = *source;
  if (!directory) return true;
  touched->push_back(*source);
  const std::string prefix = below(from);
  for (const auto& [path, node] : names_) {
    if (!path.starts_with(prefix)) continue;
    after->erase(path);
    (*after)[below(to) + path.substr(prefix.size())] = node;
  }
  return true;
}

bool History::try_link(std::string_view existing, std::string_view path, Names* after,
                       std::vector<NodeId>* touched) const {
  const NodeId* const node = find(existing);
  const NodeId parent = directory_of(path);
  if (node == nullptr || is_directory(*node) || parent == no_node || find(path) != nullptr)
    return false;
  *after = names_;
  (*after)[std::string(path)] = *node;
  *touched = {parent, *node};
  return true;
}

void History::names_changed(Names after, std::vector<NodeId> touched, std::uint64_t start,
                            std::uint64_t end) {
  names_ = after;
  HistoryEvent event;
  event.kind = HistoryEvent::Kind::names;
  event.start = start;
  event.end = end;
  event.ok = true;
  event.names = std::move(after);
  event.touched = std::move(touched);
  events_.push_back(std::move(event));
}

std::size_t History::write_started(NodeId node, std::uint64_t offset, std::uint64_t length,
                                   std::uint32_t write_id, bool dsync, std::uint64_t start) {
  HistoryEvent event;
  event.kind = HistoryEvent::Kind::write;
  event.node = node;
  event.start = start;
  event.offset = offset;
  event.length = length;
  event.write_id = write_id;
  event.dsync = dsync;
  event.size_at_start = sizes_[node];
  const Node& of = nodes_[node];
  event.overwrites = offset + length <= of.base_size;
  for (std::uint64_t at = offset; event.overwrites && at < offset + length; at += sector_bytes)
    event.overwrites = of.base[at / sector_bytes] != 0;
  events_.push_back(std::move(event));
  return events_.size() - 1;
}

void History::write_ended(std::size_t index, std::uint64_t offset, bool ok, bool no_effect,
                          std::uint64_t end) {
  HistoryEvent& event = events_[index];
  event.offset = offset;
  event.end = end;
  event.ok = ok;
  event.failed = !ok && !no_effect;
  if (!ok) return;
  event.overtaken = offset + event.length <= sizes_[event.node];
  sizes_[event.node] = std::max(sizes_[event.node], offset + event.length);
}

std::size_t History::truncate_started(NodeId node, std::uint64_t size, std::uint64_t start) {
  HistoryEvent event;
  event.kind = HistoryEvent::Kind::truncate;
  event.node = node;
  event.start = start;
  event.size = size;
  event.size_at_start = sizes_[node];
  events_.push_back(std::move(event));
  return events_.size() - 1;
}

void History::truncate_ended(std::size_t index, bool ok, bool no_effect, std::uint64_t end) {
  HistoryEvent& event = events_[index];
  event.end = end;
  event.ok = ok;
  event.failed = !ok && !no_effect;
  if (ok) sizes_[event.node] = event.size;
}

std::uint64_t History::digest_at(std::uint64_t moment, std::uint64_t begun) const noexcept {
  std::uint64_t digest = 0;
  for (const HistoryEvent& event : events_) {
    if (event.start > moment) continue;
    const bool ended = event.end <= moment;
    digest = mix(digest, mix(event.start - begun, ended ? event.end - begun : 0));
    digest = mix(digest, mix(static_cast<std::uint64_t>(event.kind) + (ended ? 16 : 0) +
                                 (event.ok && ended ? 32 : 0) + (event.dsync ? 64 : 0),
                             mix(event.node + (std::uint64_t{event.write_id} << 32),
                                 mix(event.offset + (event.size << 1), event.length))));
    for (const auto& [path, node] : event.names) {
      for (const char c : path)
        digest = (digest ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
      digest = mix(digest, node);
    }
  }
  for (const HistoryAck& ack : acks_) {
    if (ack.end <= moment)
      digest = mix(digest, mix(static_cast<std::uint64_t>(ack.kind) + 128, ack.node));
  }
  return digest;
}

}  // namespace handback::sim
