// All metadata of a volume in memory: inodes, names, extents. The same code applies a change when
// it is made and when it is replayed; nothing here does I/O.
//
// Thread class: whoever holds the volume's metadata lock. Extents are also read under the inode's
// own map lock alone, hence every change of extents takes both.
#pragma once

#include <absl/container/btree_map.h>

#include <handback/contract.h>
#include <handback/volume.h>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "volume/change.h"
#include "volume/extent_map.h"
#include "volume/metadata_observer.h"

namespace handback {

// What an inode needs only while it is open. Defined by the file's code (open_inode.h).
struct OpenInode;

// A published write that the log does not durably call confirmed yet. Bytes of the file.
struct UnconfirmedWrite {
  std::uint64_t offset = 0;
  std::uint64_t end = 0;
  std::uint64_t id = 0;
};

struct Inode {
  Inode(std::uint64_t number, FileType file_type);
  ~Inode();

  std::uint64_t ino;
  FileType type;
  std::uint32_t nlink = 0;
  std::int64_t mtime_ns = 0;
  std::uint64_t parent = 0;  // Of a directory: where it is.
  std::atomic<std::uint64_t> size_bytes{0};
  std::atomic<std::uint64_t> dirty_sequence{
      0};  // The log record that makes it durable; 0: durable.

  mutable RankedMutex map_lock{LockRank::map};
  ExtentMap extents;
  // Another number after each change of the extents, of any inode; written under map_lock. Who has
  // looked an extent up may use it without the lock as long as this is what it was.
  std::atomic<std::uint64_t> map_version{0};
  std::vector<UnconfirmedWrite> unconfirmed;  // Under map_lock. May hold confirmed ones, too.
  std::atomic<std::uint64_t> newest_write_id{0};

  std::map<std::string, std::uint64_t, std::less<>> entries;  // Of a directory: name -> ino.

  std::unique_ptr<OpenInode> open;
};

// A name as an entry may have it: 1 to 255 bytes, no '/', no NUL, neither "." nor "..".
[[nodiscard]] bool name_is_valid(std::string_view name) noexcept;

class Metadata {
 public:
  // An empty volume: the root directory alone.
  Metadata();

  [[nodiscard]] Inode* find(std::uint64_t ino) const noexcept;
  [[nodiscard]] Inode& root() const noexcept { return *find(root_inode()); }
  [[nodiscard]] const Inode* child(const Inode& directory, std::string_view name) const noexcept;
  [[nodiscard]] Inode* child(const Inode& directory, std::string_view name) noexcept;
  // True if `inode` is `ancestor` or lies below it.
  [[nodiscard]] bool is_below(const Inode& inode, const Inode& ancestor) const noexcept;

  // Carries `change` out. Blocks that lost their owner are appended to *freed.
  // Returns null, or, for a change that cannot be (then nothing was changed), why.
  [[nodiscard]] const char* apply(const Change& change, std::vector<BlockRun>* freed);

  // An inode from a checkpoint; null if there is one with that number already.
  Inode* add_inode(std::uint64_t ino, FileType type);
  // An entry from a checkpoint. False if the name is taken or invalid.
  bool add_entry(Inode& directory, std::string_view name, std::uint64_t ino);

  // The extents from a checkpoint, of an inode that has none.
  void set_extents(Inode& inode, ExtentMap&& extents);

  // The effects of set_size, map and unmap on an inode that may have no name any more (then there
  // is nothing to log).
  void set_size(Inode& inode, std::uint64_t size_bytes, std::int64_t mtime_ns,
                std::vector<BlockRun>* freed);
  void map(Inode& inode, std::uint64_t offset, const Extent& extent, std::vector<BlockRun>* freed);

  void unmap(Inode& inode, std::uint64_t offset, std::uint64_t count, std::vector<BlockRun>* freed);

  // Called by the last handle of an inode that has no name any more.
  void drop_orphan(Inode& inode, std::vector<BlockRun>* freed);

  [[nodiscard]] std::uint64_t next_ino() const noexcept { return next_ino_; }
  void set_next_ino(std::uint64_t ino) noexcept { next_ino_ = ino; }

  // What a checkpoint of it takes, in payload bytes.
  [[nodiscard]] std::uint64_t snapshot_bytes() const noexcept { return snapshot_bytes_; }
  [[nodiscard]] std::uint64_t file_count() const noexcept { return file_count_; }
  [[nodiscard]] std::uint64_t directory_count() const noexcept { return directory_count_; }
  [[nodiscard]] std::uint64_t extent_count() const noexcept { return extent_count_; }
  // Each of these may become an extent of its own when it is written.
  [[nodiscard]] std::uint64_t unwritten_blocks() const noexcept { return unwritten_blocks_; }

  // Who is told of changes from now on; null: nobody.
  void observe(MetadataObserver* observer) noexcept;

  using Inodes = absl::btree_map<std::uint64_t, std::unique_ptr<Inode>>;
  [[nodiscard]] const Inodes& inodes() const noexcept { return inodes_; }

 private:
  [[nodiscard]] static std::uint64_t root_inode() noexcept;
  const char* apply_create(const Change& change);
  const char* apply_remove_name(const Change& change, std::vector<BlockRun>* freed);
  const char* apply_rename(const Change& change, std::vector<BlockRun>* freed);
  const char* apply_set_size(const Change& change, std::vector<BlockRun>* freed);
  const char* apply_map(const Change& change, std::vector<BlockRun>* freed);
  const char* apply_unmap(const Change& change, std::vector<BlockRun>* freed);
  const char* apply_link(const Change& change);
  Inode* directory(std::uint64_t ino) const noexcept;
  void unlink_inode(Inode& inode, std::vector<BlockRun>* freed);
  void free_blocks_of(Inode& inode, std::vector<BlockRun>* freed);
  // Of blocks [offset, offset + count) of the file.
  template <typename Edit>
  void edit_extents(Inode& inode, std::uint64_t offset, std::uint64_t count, Edit edit);
  void changes_attributes(const Inode& inode) {
    if (observer_ != nullptr) observer_->attributes_will_change(inode);
  }
  void changes_entry(const Inode& in, std::string_view name) {
    if (observer_ != nullptr) observer_->entry_will_change(in, name);
  }

  MetadataObserver* observer_ = nullptr;
  Inodes inodes_;
  std::vector<std::unique_ptr<Inode>> orphans_;  // Without a name, still open.
  std::uint64_t next_ino_ = 0;
  std::uint64_t snapshot_bytes_ = 0;
  std::uint64_t file_count_ = 0;
  std::uint64_t directory_count_ = 0;
  std::uint64_t extent_count_ = 0;
  std::uint64_t unwritten_blocks_ = 0;
};

}  // namespace handback
