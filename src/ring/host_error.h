// Errors of the host as sentences.
#pragma once

#include <handback/error.h>

#include <string_view>

namespace handback {

// "cannot WHAT PATH: REASON", and what to do about it where that can be said.
[[nodiscard]] tl::unexpected<Error> host_error(std::string_view what, std::string_view path,
                                               int host_errno);

}  // namespace handback
