#include "ring/host_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace handback {
namespace {

std::string_view next_step(int host_errno) {
  switch (host_errno) {
    case ENOENT:
      return "; check the path, or create it first";
    case EACCES:
    case EPERM:
      return "; give this user access to it, or run as its owner";
    case EROFS:
      return "; open it read-only, or remount its file system writable";
    case ENOSPC:
      return "; free some space or ask for less";
    case EDQUOT:
      return "; the quota of this user is used up";
    case EFBIG:
      return "; the file system or the file size limit (ulimit -f) does not allow that size";
    case EMFILE:
    case ENFILE:
      return "; raise the limit of open files (ulimit -n)";
    case ENOMEM:
      return "; free memory, or raise the limit of locked memory (ulimit -l)";
    case EEXIST:
      return "; nothing is ever overwritten: remove it or choose another name";
    default:
      return "";
  }
}

}  // namespace

tl::unexpected<Error> host_error(std::string_view what, std::string_view path, int host_errno) {
  return fail(errc_from_errno(host_errno),
              fmt::format("cannot {} {}: {}{}", what, path, std::strerror(host_errno),
                          next_step(host_errno)));
}

}  // namespace handback
