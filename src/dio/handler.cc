#include "dio/handler.h"

#include <fmt/format.h>

#include "base/assert.h"

namespace handback {

DioOps::DioOps(const HandlerContract& contract) : contract_(contract) {
  HB_ASSERT(!contains(contract.pure | contract.task, Acts::user_code),
            "a handler never calls the user: results are delivered by the issuer");
}

std::string describe_dio(const void* dio) {
  const Dio& of = *static_cast<const Dio*>(dio);
  return fmt::format("ino={} offset={} length={} flags={}",
                     of.kiocb->ki_filp == nullptr ? 0 : of.kiocb->ki_filp->file_id(), of.offset,
                     of.length, to_string(of.kiocb->ki_flags));
}

}  // namespace handback
