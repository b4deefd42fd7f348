// What the user should know but need not act on, said once per process.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace handback {

enum class NoticeKind : std::uint8_t { no_io_uring, no_direct_io };
inline constexpr unsigned notice_kind_count = 2;

using NoticeSink = std::function<void(std::string_view)>;

// Hands `text` to `sink` (null: standard error), unless a notice of this kind was said before in
// this process.
// Thread class: any.
void notice_once(NoticeKind kind, const NoticeSink& sink, std::string_view text);

namespace testing {
// As if nothing had been said yet.
void forget_notices() noexcept;
}  // namespace testing

}  // namespace handback
