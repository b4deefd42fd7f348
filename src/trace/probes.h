// USDT probes on the trace points: `handback:EVENT`, with the arguments listed in docs/tracing.md.
#pragma once

#include <handback/trace.h>

namespace handback {

// Fires the probe of record.event. Does nothing in a build without <sys/sdt.h>.
void fire_probe(const TraceRecord& record) noexcept;

}  // namespace handback
