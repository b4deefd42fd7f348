// A checkpoint's payload, taken in slices while metadata goes on changing: all of it as it was when
// the writer was made.
//
// It goes through the inodes in their order. What is about to change ahead of it, it keeps as it
// was (Kept); behind it, changes are none of its business. Regions of a file that changed begin and
// end where extents of the snapshot did, so between them the file's map is still the snapshot's.
// Thread class: whoever holds the volume's metadata lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "volume/metadata.h"
#include "volume/metadata_observer.h"
#include "volume/snapshot.h"

namespace handback {

class SnapshotWriter final : private MetadataObserver {
 public:
  // Requires: no other one observes `metadata`, which outlives this.
  explicit SnapshotWriter(Metadata& metadata);
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;
  ~SnapshotWriter();

  // Length of the whole payload.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  // Appends the next part, a little more than `bytes_wanted` at most. False: nothing comes after
  // it.
  [[nodiscard]] bool next(std::size_t bytes_wanted, std::vector<std::byte>& out);

 private:
  using Extents = std::vector<std::pair<std::uint64_t, Extent>>;
  struct Region {
    std::uint64_t end = 0;
    Extents extents;
  };
  // Of an inode ahead of the writer that has changed: what the snapshot has of it.
  struct Kept {
    SnapshotInode attributes;
    std::map<std::uint64_t, Region> regions;                                 // By their start.
    std::map<std::string, std::optional<std::uint64_t>, std::less<>> names;  // Null: not there.
    bool gone = false;                                                       // All of it is here.
  };

  void attributes_will_change(const Inode& inode) override;
  void extents_will_change(const Inode& inode, std::uint64_t offset, std::uint64_t count) override;
  void entry_will_change(const Inode& directory, std::string_view name) override;
  void inode_will_go(const Inode& inode) override;

  // Null: the inode is not in the snapshot, or behind the writer.
  Kept* keep(const Inode& inode);
  // Finds the next inode; false: there is none.
  bool begin_inode();
  void put_header(std::vector<std::byte>& out) const;
  void put_extents(std::size_t bytes_wanted, std::vector<std::byte>& out);
  void put_entries(std::size_t bytes_wanted, std::vector<std::byte>& out);

  Metadata& metadata_;
  std::uint64_t bytes_;
  std::uint64_t next_ino_;
  std::uint64_t inode_count_;
  std::uint64_t written_ = 0;
  std::map<std::uint64_t, Kept> kept_;  // By ino.

  // The inode being written; it and all before it are behind the writer, except what follows the
  // position in it.
  std::uint64_t ino_ = 0;
  enum class Part : std::uint8_t { volume_header, between, extents, entries, done };
  Part part_ = Part::volume_header;
  std::uint64_t block_ = 0;               // Extents that begin below are written.
  std::optional<std::string> last_name_;  // Entries up to this one are written.
};

}  // namespace handback
