#include "base/context.h"

namespace handback {

[[gnu::tls_model("initial-exec")]] constinit thread_local char thread_mark = 0;

}  // namespace handback
