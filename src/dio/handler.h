// A file's handler under its contract: what it may do while it runs, and whether it may run here.
#pragma once

#include "base/context.h"
#include "dio/dio.h"

namespace handback {

// "ino=7 offset=4096 length=8192 flags=DIRECT|WRITE|DIO_DEFER", for reports. `dio`: a Dio.
[[nodiscard]] std::string describe_dio(const void* dio);

// Around each call of end_io and write_sync.
class DioHandlerScope {
 public:
  explicit DioHandlerScope(const Dio& dio) noexcept
      : scope_(dio.request.dio_ops->contract().name, declared(dio), &dio, &describe_dio) {}

 private:
  // In device context only what was declared for a completion that leaves nothing to do.
  static Acts declared(const Dio& dio) noexcept {
    const HandlerContract& contract = dio.request.dio_ops->contract();
    return current_context() == Context::device ? contract.pure : contract.pure | contract.task;
  }
  HandlerScope scope_;
};

[[nodiscard]] inline bool handler_waits(const DioOps& ops) noexcept {
  return contains(ops.contract().pure | ops.contract().task, Acts::wait);
}

// Whether the context of now grants all that the handler may do.
[[nodiscard]] inline bool may_run_handler_here(const Dio& dio) noexcept {
  const HandlerContract& contract = dio.request.dio_ops->contract();
  return contains(grants(current_context()), contract.pure | contract.task);
}

}  // namespace handback
