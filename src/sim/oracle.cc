#include "sim/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace handback::sim {
namespace {

using Kind = HistoryEvent::Kind;

enum class Part : std::uint8_t { out, maybe, in };

// One cut through the history.
class Judge {
 public:
  Judge(const History& history, const CrashFacts& facts, const FoundVolume& found)
      : history_(history), facts_(facts), found_(found), events_(history.events()) {}

  std::string run() {
    find_forced();
    std::vector<std::uint64_t> cuts;
    cuts.push_back(facts_.moment);
    for (const HistoryEvent& event : events_) {
      if (event.start > facts_.moment) continue;
      cuts.push_back(event.start);
      if (event.start != 0) cuts.push_back(event.start - 1);
      if (event.end < facts_.moment) cuts.push_back(event.end);
    }
    std::sort(cuts.begin(), cuts.end(), std::greater<>());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    std::string problem;
    for (const std::uint64_t cut : cuts) {
      if (cut < cut_min_) break;
      std::string why = try_cut(cut);
      if (why.empty()) return {};
      // The deepest look says the most.
      if (problem.empty() || depth_ > depth_max_) problem = why;
      depth_max_ = std::max(depth_max_, depth_);
    }
    return problem.empty() ? "no cut through the history is late enough" : problem;
  }

 private:
  bool durable(const HistoryEvent& event) const {
    return event.kind == Kind::write && event.ok && event.end <= facts_.moment &&
           (forced_[index_of(event)] != 0 ||
            (facts_.process_only && event.overwrites && !truncated(event.node)));
  }
  std::size_t index_of(const HistoryEvent& event) const {
    return static_cast<std::size_t>(&event - events_.data());
  }
  bool truncated(NodeId node) const {
    return std::any_of(events_.begin(), events_.end(), [&](const HistoryEvent& event) {
      return event.kind == Kind::truncate && event.node == node && event.start <= facts_.moment;
    });
  }

  // What was promised to survive, and how late the cut must be for that.
  void find_forced() {
    forced_.assign(events_.size(), 0);
    for (const HistoryAck& ack : history_.acks()) {
      if (ack.end > facts_.moment) continue;
      for (const HistoryEvent& event : events_) {
        if (event.end > ack.start || !event.ok) continue;
        bool covered = ack.kind == HistoryAck::Kind::all;
        if (ack.kind == HistoryAck::Kind::file) {
          covered = event.kind == Kind::names
                        ? touches(event, ack.node) && is_first_name(event, ack.node)
                        : event.node == ack.node;
        }
        if (ack.kind == HistoryAck::Kind::directory)
          covered = event.kind == Kind::names && touches(event, ack.node);
        if (covered) force(event);
      }
    }
    for (const HistoryEvent& event : events_) {
      if (event.kind != Kind::write || !event.dsync || !event.ok || event.end > facts_.moment)
        continue;
      force(event);
      // Data without a name is no data.
      for (const HistoryEvent& creation : events_) {
        if (creation.kind == Kind::names && creation.end <= event.start &&
            is_creation(creation, event.node))
          force(creation);
      }
    }
  }

  static bool touches(const HistoryEvent& event, NodeId node) {
    return std::find(event.touched.begin(), event.touched.end(), node) != event.touched.end();
  }
  // Creations and links name their file second; a rename, whose file comes third, is not promised.
  static bool is_first_name(const HistoryEvent& event, NodeId node) {
    return event.touched.size() == 2 && event.touched[1] == node;
  }
  bool is_creation(const HistoryEvent& event, NodeId node) const {
    return is_first_name(event, node) && !history_.nodes()[node].directory;
  }

  void force(const HistoryEvent& event) {
    forced_[index_of(event)] = 1;
    // Only what stands in the log brings with it what stands there before.
    const bool logged = event.kind != Kind::write || event.extends();
    if (logged) cut_min_ = std::max(cut_min_, event.start);
  }

  static bool refused(const HistoryEvent& event) {
    return !event.ok && !event.failed && event.end != open_ended;
  }

  Part part_of(const HistoryEvent& event, std::uint64_t cut) const {
    if (event.start > facts_.moment) return Part::out;
    // What was refused never did anything, also while its answer was on the way.
    if (refused(event)) return Part::out;
    if (forced_[index_of(event)] != 0) return Part::in;
    if (event.start > cut) return Part::out;
    if (event.end <= cut && event.end <= facts_.moment && event.ok) return Part::in;
    return Part::maybe;
  }

  std::string try_cut(std::uint64_t cut) {
    depth_ = 0;
    const Names* definite = &history_.base_names();
    const Names* maybe = nullptr;
    for (const HistoryEvent& event : events_) {
      if (event.kind != Kind::names) continue;
      const Part part = part_of(event, cut);
      if (part == Part::in) {
        definite = &event.names;
        maybe = nullptr;
      } else if (part == Part::maybe && maybe == nullptr) {
        maybe = &event.names;
      }
    }
    std::string why = try_names(*definite, cut);
    if (why.empty() || maybe == nullptr) return why;
    const int depth = depth_;
    std::string why_too = try_names(*maybe, cut);
    if (why_too.empty() || depth_ > depth) return why_too;
    return why;
  }

  std::string try_names(const Names& names, std::uint64_t cut) {
    if (names.size() != found_.entries.size()) return names_differ(names);
    std::map<NodeId, std::uint64_t> ino_of;
    std::map<NodeId, std::uint32_t> links;
    auto entry = found_.entries.begin();
    for (const auto& [path, node] : names) {
      const bool directory = history_.nodes()[node].directory;
      if (entry->path != path || entry->directory != directory) return names_differ(names);
      const auto [known, is_new] = ino_of.emplace(node, entry->ino);
      if (!is_new && known->second != entry->ino)
        return fmt::format("{}: is not the file that it should be", path);
      ++links[node];
      ++entry;
    }
    depth_ = std::max(depth_, 1);
    for (const auto& is : found_.entries) {
      const NodeId node = names.find(is.path)->second;
      if (!is.directory && is.nlink != links[node])
        return fmt::format("{}: nlink {} and {} names", is.path, is.nlink, links[node]);
    }
    for (const auto& [node, ino] : ino_of) {
      if (history_.nodes()[node].directory) continue;
      const FoundFile* file = found_.file(ino);
      if (file == nullptr) return fmt::format("inode {} was not read", ino);
      if (std::string why = try_file(node, *file, cut); !why.empty()) return why;
    }
    return {};
  }

  std::string names_differ(const Names& names) const {
    std::string text = "names:";
    for (const FoundEntry& entry : found_.entries)
      text += " " + entry.path;
    text += "; expected:";
    for (const auto& [path, node] : names)
      text += " " + path;
    return text;
  }

  std::string name_of(NodeId node) const {
    for (const auto& [path, known] : history_.names()) {
      if (known == node) return path;
    }
    for (const auto& [path, known] : history_.base_names()) {
      if (known == node) return path;
    }
    return fmt::format("node {}", node);
  }

  static bool overlap(const HistoryEvent& a, const HistoryEvent& b) {
    return a.start <= b.end && b.start <= a.end;
  }

  std::vector<std::uint64_t> sizes_at(NodeId node, std::uint64_t cut) const {
    std::vector<std::uint64_t> sizes{history_.nodes()[node].base_size};
    const auto add = [&](std::vector<std::uint64_t>& to, std::uint64_t size) {
      if (std::find(to.begin(), to.end(), size) == to.end()) to.push_back(size);
    };
    for (const HistoryEvent& event : events_) {
      if (event.kind == Kind::names || event.node != node) continue;
      const Part part = part_of(event, cut);
      if (part == Part::out) continue;
      std::vector<std::uint64_t> after;
      for (const std::uint64_t size : sizes) {
        if (part == Part::maybe) add(after, size);
        if (event.kind == Kind::truncate) {
          add(after, event.size);
          // Writes in flight at the same time may come after it.
          for (const HistoryEvent& write : events_) {
            if (write.kind == Kind::write && write.node == node && overlap(write, event) &&
                part_of(write, cut) != Part::out)
              add(after, std::max(event.size, write.offset + write.length));
          }
        } else {
          add(after, std::max(size, event.offset + event.length));
        }
      }
      sizes = std::move(after);
    }
    return sizes;
  }

  std::string try_file(NodeId node, const FoundFile& file, std::uint64_t cut) {
    const std::vector<std::uint64_t> sizes = sizes_at(node, cut);
    if (std::find(sizes.begin(), sizes.end(), file.size) == sizes.end()) {
      std::string text = fmt::format("{}: {} bytes long; allowed:", name_of(node), file.size);
      for (const std::uint64_t size : sizes)
        text += fmt::format(" {}", size);
      return text;
    }
    depth_ = std::max(depth_, 2);
    // The newest write that can have made the file so long: all that it stands behind is there.
    std::uint64_t grown_by = 0;
    for (const HistoryEvent& event : events_) {
      if (event.kind == Kind::write && event.node == node && event.extends() &&
          event.offset + event.length == file.size && part_of(event, cut) != Part::out)
        grown_by = std::max(grown_by, event.start);
    }
    covering_.clear();
    for (const HistoryEvent& event : events_) {
      if (event.kind == Kind::names || event.node != node || event.start > facts_.moment) continue;
      if (refused(event)) continue;
      covering_.push_back({&event, part_of(event, cut), open_ended});
    }
    for (Covering& one : covering_) {
      const HistoryEvent& event = *one.event;
      if (event.kind == Kind::truncate) {
        if (one.part == Part::in) one.effective_from = event.size;
      } else if (durable(event)) {
        one.effective_from = event.offset;
      } else if ((one.part == Part::in && event.ok && event.extends()) ||
                 (!event.failed && event.extends() && event.start <= grown_by)) {
        // What lies below the old end is an overwrite, which nobody has promised yet.
        one.effective_from = event.size_at_start;
      }
    }
    for (std::size_t i = 0; i < file.sectors.size(); ++i) {
      if (!sector_allowed(node, i, file)) {
        const FoundSector& sector = file.sectors[i];
        return fmt::format("{} ({} bytes long): bytes {} to {} hold {}, which is not allowed",
                           name_of(node), file.size, i * sector_bytes, (i + 1) * sector_bytes,
                           text_of(sector));
      }
    }
    return whole_blocks(node, file);
  }

  static std::string text_of(const FoundSector& sector) {
    if (!sector.decoded.whole) return "a mixture, or bytes that are not the file's";
    if (sector.decoded.stamp == 0) return "zeros";
    return fmt::format("write {}", write_id_of(sector.decoded.stamp));
  }

  struct Covering {
    const HistoryEvent* event;
    Part part;
    std::uint64_t effective_from;  // From here on what was there before it is gone.
  };

  static bool covers(const HistoryEvent& event, std::uint64_t at) {
    if (event.kind == Kind::truncate) return at >= event.size;
    return at >= event.offset && at < event.offset + event.length;
  }
  static Stamp stamp_at(const HistoryEvent& event, std::uint64_t at) {
    if (event.kind == Kind::truncate) return 0;
    return stamp_of(event.write_id, (at - event.offset) / sector_bytes);
  }

  // A version is out once something certain came after it.
  bool version_allowed(std::uint64_t end, std::uint64_t at) const {
    return std::none_of(covering_.begin(), covering_.end(), [&](const Covering& later) {
      return at >= later.effective_from && later.event->start > end && covers(*later.event, at);
    });
  }

  bool base_allowed(std::uint64_t at) const {
    return std::none_of(covering_.begin(), covering_.end(), [&](const Covering& later) {
      return at >= later.effective_from && covers(*later.event, at);
    });
  }

  void allowed_stamps(NodeId node, std::uint64_t at, std::vector<Stamp>* stamps) const {
    stamps->clear();
    const Node& of = history_.nodes()[node];
    const std::size_t sector = at / sector_bytes;
    if (base_allowed(at)) stamps->push_back(sector < of.base.size() ? of.base[sector] : 0);
    for (const Covering& one : covering_) {
      if (covers(*one.event, at) && version_allowed(one.event->end, at))
        stamps->push_back(stamp_at(*one.event, at));
    }
  }

  bool sector_allowed(NodeId node, std::size_t sector, const FoundFile& file) {
    const std::uint64_t at = sector * sector_bytes;
    allowed_stamps(node, at, &stamps_);
    const FoundSector& is = file.sectors[sector];
    if (is.decoded.whole)
      return std::find(stamps_.begin(), stamps_.end(), is.decoded.stamp) != stamps_.end();
    if (!facts_.torn_inside_sector) return false;
    const auto bytes = std::span<const std::byte>(found_.torn).subspan(is.at, sector_bytes);
    for (const Stamp first : stamps_) {
      for (const Stamp then : stamps_) {
        if (sector_is_mix(bytes, first, then)) return true;
      }
    }
    return false;
  }

  // The device writes logical blocks whole, so whole they are old or new.
  std::string whole_blocks(NodeId node, const FoundFile& file) const {
    const std::size_t sectors = facts_.logical_block_bytes / sector_bytes;
    if (sectors < 2 || facts_.torn_inside_block || facts_.torn_inside_sector) return {};
    for (std::size_t first = 0; first + sectors <= file.sectors.size(); first += sectors) {
      std::uint32_t id = 0;
      for (std::size_t i = first; i < first + sectors; ++i) {
        const std::uint32_t is = write_id_of(file.sectors[i].decoded.stamp);
        if (is == 0) continue;
        if (id != 0 && id != is)
          return fmt::format("{}: the block at {} is half old, half new", name_of(node),
                             first * sector_bytes);
        id = is;
      }
    }
    return {};
  }

  const History& history_;
  const CrashFacts& facts_;
  const FoundVolume& found_;
  const std::vector<HistoryEvent>& events_;
  std::vector<std::uint8_t> forced_;
  std::uint64_t cut_min_ = 0;
  int depth_ = 0;
  int depth_max_ = -1;
  std::vector<Covering> covering_;
  std::vector<Stamp> stamps_;
};

}  // namespace

std::string judge(const History& history, const CrashFacts& facts, const FoundVolume& found) {
  return Judge(history, facts, found).run();
}

}  // namespace handback::sim
