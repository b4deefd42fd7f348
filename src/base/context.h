// The context the calling thread is in: what code running now may do.
//
// | context | who runs there                           | mutex | submit | wait for I/O | allocate |
// user code | | device  | a bio's end, on any thread               | no    | no     | no | no | no
// | | issuer  | handed-back work, on the issuer          | yes   | yes    | never        | yes |
// deliver   | | worker  | the worker pool                          | yes   | yes    | yes | yes |
// no        | | task    | the user's own calls                     | yes   | yes    | yes | yes |
// yes       |
#pragma once

#include <cstdint>

namespace handback {

enum class Context : std::uint8_t { task, device, issuer, worker };

[[nodiscard]] Context current_context() noexcept;

// Sets the context for a scope and restores the previous one.
class ContextScope {
 public:
  explicit ContextScope(Context context) noexcept;
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;
  ~ContextScope();

 private:
  Context previous_;
};

// Aborts unless the current context grants it.
void assert_may_submit() noexcept;
void assert_may_wait_for_io() noexcept;
void assert_may_lock() noexcept;  // A mutex; leaf locks are free to all.

// Identifies the calling thread; never null, unique among living threads.
[[nodiscard]] const void* thread_token() noexcept;

}  // namespace handback
