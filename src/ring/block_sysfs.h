// What the kernel says of a block device under /sys and /proc.
#pragma once

#include <sys/types.h>

#include <string>

namespace handback {

// The text of /sys/dev/block/MAJOR:MINOR/ATTRIBUTE without the line end; of the whole disk for a
// partition where only that has it. Empty if there is none.
[[nodiscard]] std::string block_attribute(dev_t device, const std::string& attribute);

// Who of the kernel uses `device` or has it mounted, in words: "mounted at /mnt", "part of dm-0".
// Empty if nobody, or if the kernel does not say.
[[nodiscard]] std::string block_device_user(dev_t device);

}  // namespace handback
