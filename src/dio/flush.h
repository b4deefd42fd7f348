// The continuation of a write_sync() that needs nothing but a flush of the device.
#pragma once

#include <handback/iomap.h>

namespace handback {

// Told of a flush that failed, before the request ends with its error. Issuer context.
using FlushFailed = void (*)(Kiocb& kiocb, IoResult error) noexcept;

// Submits a flush through the request's issuer and returns NotFinal; when the flush has ended, the
// request ends with `result`, or with the flush's error. Runs on: the request's issuer, issuer or
// task context.
Outcome flush_then_end(Kiocb& kiocb, BlockDevice& device, IoResult result,
                       FlushFailed failed = nullptr) noexcept;

}  // namespace handback
