#include "base/context.h"

namespace handback {
namespace {
thread_local char token;
}  // namespace

const void* thread_token() noexcept {
  return &token;
}

}  // namespace handback
