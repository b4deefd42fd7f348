// Copies trees into a volume and out of it, with many requests in flight on one thread.
//
// Both directions can be repeated: a file that is at the destination with the same size and time is
// left alone. The time is set last, after every write of the file was delivered, and the volume
// makes metadata durable in order and after the data it exposes: so a file that a crash left with
// the right size and time is complete.
#pragma once

#include <handback/issuer.h>
#include <handback/volume.h>
#include <string>
#include <vector>

#include "common/copy_report.h"
#include "common/host_tree.h"

namespace tool {

// Makes the directories and copies the files of the tree. Stops early, and says so in the report,
// when interrupted_by() is set. A file of the host that cannot be read is reported and the others
// are copied; what concerns the volume (no space, an I/O error) throws Failure. No space is found
// out before anything is changed, as far as sizes tell.
CopyReport put_tree(handback::Volume& volume, handback::Issuer& issuer, const HostTree& tree,
                    const CopyWatcher& watcher = nullptr);

// A file or directory of the volume and where it goes on the host.
struct VolumeFileItem {
  std::string volume_path;
  std::string host_path;
  handback::FileInfo info;
};

struct VolumeTree {
  std::vector<std::string> directories;  // On the host, each after its parent.
  std::vector<VolumeFileItem> files;
  std::uint64_t bytes = 0;
};

// Where things go on the host: as in read_host_tree(), with "." and ".." taken for directories.
// Throws Failure if a path does not exist.
[[nodiscard]] VolumeTree read_volume_tree(const handback::Volume& volume,
                                          const std::vector<std::string>& paths,
                                          const std::string& destination);

CopyReport get_tree(handback::Volume& volume, handback::Issuer& issuer, const VolumeTree& tree,
                    const CopyWatcher& watcher = nullptr);

}  // namespace tool
