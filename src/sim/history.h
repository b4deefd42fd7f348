// What was asked of a volume, when, and what was answered: the model that a recovered volume is
// held against. It knows nothing of how the volume works, only what it promises.
//
// Moments are those of the device (SimDevice::moment). An operation lies between two of them; its
// change of metadata stands in the volume's log somewhere between. So what a crash leaves is what a
// cut through time leaves: all that ended before the cut, nothing that began after it, and of what
// it goes through any part.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sim/pattern.h"

namespace handback::sim {

inline constexpr std::uint64_t open_ended = ~std::uint64_t{0};

using NodeId = std::uint32_t;  // A file or a directory, whatever its names. 0: the root.
using Names = std::map<std::string, NodeId>;  // Full paths, without the root.

struct Node {
  bool directory = false;
  // As it was when the history began.
  std::uint64_t base_size = 0;
  std::vector<Stamp> base;  // By sector, up to base_size.
};

struct HistoryEvent {
  enum class Kind : std::uint8_t { names, write, truncate };
  Kind kind = Kind::names;
  NodeId node = 0;
  std::uint64_t start = 0;
  std::uint64_t end = open_ended;
  bool ok = false;
  bool failed = false;  // Ended with an error that leaves its effect open.
  // names
  Names names;                  // After it.
  std::vector<NodeId> touched;  // Directories; the file, where its fsync() covers the change.
  // write
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint32_t write_id = 0;
  bool dsync = false;
  std::uint64_t size_at_start = 0;
  bool overwrites = false;  // Only blocks that were written, and durably mapped, at the beginning.
  // truncate
  std::uint64_t size = 0;

  bool overtaken = false;  // When it ended the file was that long already.

  [[nodiscard]] bool extends() const noexcept {
    return !overtaken && offset + length > size_at_start;
  }
};

// A call that promised durability and returned well.
struct HistoryAck {
  enum class Kind : std::uint8_t { all, file, directory };
  Kind kind = Kind::all;
  NodeId node = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

class History {
 public:
  History();

  // --- as it began ---
  NodeId add_node(bool directory);
  void set_base_names(Names names) { base_names_ = names_ = std::move(names); }
  void set_base_file(NodeId node, std::uint64_t size, std::vector<Stamp> base);

  // --- what happens; each returns the event's index ---
  // Changes of names are tried on the model first: false, or the names after it.
  [[nodiscard]] bool try_create(std::string_view path, bool directory, Names* after,
                                std::vector<NodeId>* touched);
  [[nodiscard]] bool try_remove(std::string_view path, bool directory, Names* after,
                                std::vector<NodeId>* touched) const;
  [[nodiscard]] bool try_rename(std::string_view from, std::string_view to, Names* after,
                                std::vector<NodeId>* touched) const;
  [[nodiscard]] bool try_link(std::string_view existing, std::string_view path, Names* after,
                              std::vector<NodeId>* touched) const;
  void names_changed(Names after, std::vector<NodeId> touched, std::uint64_t start,
                     std::uint64_t end);
  std::size_t write_started(NodeId node, std::uint64_t offset, std::uint64_t length,
                            std::uint32_t write_id, bool dsync, std::uint64_t start);
  void write_ended(std::size_t event, std::uint64_t offset, bool ok, bool no_effect,
                   std::uint64_t end);
  std::size_t truncate_started(NodeId node, std::uint64_t size, std::uint64_t start);
  void truncate_ended(std::size_t event, bool ok, bool no_effect, std::uint64_t end);
  void acknowledged(HistoryAck ack) { acks_.push_back(ack); }

  // --- as it is now ---
  [[nodiscard]] const Names& names() const noexcept { return names_; }
  [[nodiscard]] const Names& base_names() const noexcept { return base_names_; }
  [[nodiscard]] const std::vector<Node>& nodes() const noexcept { return nodes_; }
  [[nodiscard]] const std::vector<HistoryEvent>& events() const noexcept { return events_; }
  [[nodiscard]] const std::vector<HistoryAck>& acks() const noexcept { return acks_; }
  [[nodiscard]] std::uint64_t size_now(NodeId node) const noexcept { return sizes_[node]; }
  // Null if there is no such name.
  [[nodiscard]] const NodeId* find(std::string_view path) const;
  [[nodiscard]] std::uint32_t next_write_id() noexcept { return ++last_write_id_; }
  void continue_write_ids(std::uint32_t last) noexcept { last_write_id_ = last; }
  [[nodiscard]] std::uint32_t last_write_id() const noexcept { return last_write_id_; }

  // What of the history a crash at `moment` depends on, as one number. Moments count from `begun`.
  [[nodiscard]] std::uint64_t digest_at(std::uint64_t moment, std::uint64_t begun) const noexcept;

 private:
  [[nodiscard]] NodeId directory_of(std::string_view path) const;
  [[nodiscard]] bool is_directory(NodeId node) const noexcept { return nodes_[node].directory; }
  [[nodiscard]] bool has_children(std::string_view path) const;

  std::vector<Node> nodes_;
  std::vector<std::uint64_t> sizes_;
  Names base_names_;
  Names names_;
  std::vector<HistoryEvent> events_;
  std::vector<HistoryAck> acks_;
  std::uint32_t last_write_id_ = 0;
};

}  // namespace handback::sim
