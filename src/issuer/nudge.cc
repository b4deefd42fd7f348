#include "issuer/nudge.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>

#include "base/shield.h"

namespace handback {
namespace {

// Its address in a signal's value says that send_nudge() sent it.
char nudge_mark;

struct Previous {
  std::atomic<bool> installed{false};
  struct sigaction action {};
};
std::array<Previous, NSIG> previous_actions;

void chain_to(const struct sigaction& action, int signal, siginfo_t* info, void* context) {
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(signal, info, context);
  } else if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) {
    action.sa_handler(signal);
  }
}

void on_signal(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &nudge_mark) {
    shield_nudged();
  } else {
    chain_to(previous_actions[static_cast<std::size_t>(signal)].action, signal, info, context);
  }
  errno = saved;
}

}  // namespace

int prepare_nudge(int signal) noexcept {
  if (signal <= 0 || signal >= NSIG) return EINVAL;
  static std::mutex mutex;
  const std::lock_guard guard(mutex);
  Previous& previous = previous_actions[static_cast<std::size_t>(signal)];
  if (!previous.installed.load(std::memory_order_relaxed)) {
    struct sigaction action {};
    action.sa_sigaction = &on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    // The old one is in place before the new one can be entered.
    if (::sigaction(signal, nullptr, &previous.action) != 0) return errno;
    if (::sigaction(signal, &action, nullptr) != 0) return errno;
    previous.installed.store(true, std::memory_order_relaxed);
  }
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

bool send_nudge(int tid, int signal) noexcept {
  siginfo_t info;
  std::memset(&info, 0, sizeof info);
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  info.si_value.sival_ptr = &nudge_mark;
  return ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), tid, signal, &info) == 0;
}

int current_tid() noexcept {
  return static_cast<int>(::gettid());
}

}  // namespace handback
