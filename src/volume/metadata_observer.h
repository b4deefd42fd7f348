// Who is told of each change of metadata just before it is made: a snapshot that is taken in slices
// keeps what was there. Called with the metadata lock held.
#pragma once

#include <cstdint>
#include <string_view>

namespace handback {

struct Inode;

class MetadataObserver {
 public:
  // The size, the time, or the number of names.
  virtual void attributes_will_change(const Inode& inode) = 0;
  // Extents in [offset, offset + count) of the file, in blocks.
  virtual void extents_will_change(const Inode& inode, std::uint64_t offset,
                                   std::uint64_t count) = 0;
  // An entry of a directory comes, goes, or is another one.
  virtual void entry_will_change(const Inode& directory, std::string_view name) = 0;
  // The inode loses its last name, and is none that the volume knows of.
  virtual void inode_will_go(const Inode& inode) = 0;

 protected:
  ~MetadataObserver() = default;
};

}  // namespace handback
