// Memory of the library's own under a bio that was not answered within its deadline: the device may
// still read or write it, so it is not given back.
#pragma once

#include <handback/issuer.h>

namespace handback {

// Keeps `buffer` until the process ends. It happens once in the life of a device, if at all: the
// device takes nothing more after that. Any thread that may allocate.
void abandon(AlignedBuffer&& buffer);

}  // namespace handback
