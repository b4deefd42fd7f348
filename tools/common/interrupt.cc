#include "common/interrupt.h"

namespace tool {
namespace {

volatile std::sig_atomic_t noted_signal = 0;

void note_signal(int signal_number) {
  noted_signal = signal_number;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  struct sigaction action {};
  action.sa_handler = note_signal;
  // Not SA_RESTART: a sleeping wait shall return and look.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
  sigaction(SIGHUP, &action, &old_hup_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
  sigaction(SIGHUP, &old_hup_, nullptr);
}

int interrupted_by() noexcept {
  return noted_signal;
}

}  // namespace tool
