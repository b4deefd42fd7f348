#include "ring/notice.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdio>

namespace handback {
namespace {

std::atomic<bool> said[notice_kind_count];

}  // namespace

void notice_once(NoticeKind kind, const NoticeSink& sink, std::string_view text) {
  if (said[static_cast<unsigned>(kind)].exchange(true)) return;
  if (sink) {
    sink(text);
  } else {
    fmt::print(stderr, "handback: {}\n", text);
  }
}

namespace testing {

void forget_notices() noexcept {
  for (auto& kind : said)
    kind.store(false);
}

}  // namespace testing
}  // namespace handback
