// The library's version. The on-disk format has its own (docs/format.md).
#pragma once

#define HB_VERSION_MAJOR 0
#define HB_VERSION_MINOR 1
#define HB_VERSION_PATCH 0
#define HB_VERSION_STRING "0.1.0"
