#include "kill_loops/writer.h"

#include <sys/prctl.h>

#include <csignal>
#include <cstring>
#include <thread>
#include <vector>

#include "common/failure.h"
#include "common/volume_session.h"
#include "kill_loops/names.h"
#include "kill_loops/slot_writer.h"

namespace tool::kill_loops {
namespace {

// Records and checkpoints of the volume's own making, many in a short life.
constexpr std::uint32_t commit_interval_ms = 3;

void note_failure(SharedState& shared, const char* text) {
  if (shared.failed.exchange(1) != 0) return;
  std::strncpy(shared.failure, text, sizeof(shared.failure) - 1);
}

void work(handback::Volume& volume, SharedState& shared, unsigned thread,
          const WriterOptions& options) {
  try {
    const auto issuer = value_of(handback::Issuer::create(), "issuer");
    SlotWriter writer(volume, *issuer, shared, thread, options);
    shared.ready = 1;
    while (shared.failed == 0)
      writer.step();
  } catch (const Failure& failure) {
    note_failure(shared, failure.what());
  }
}

}  // namespace

int run_writer(const WriterOptions& options, SharedState& shared) {
  // An orphan would hold the volume.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    SessionOptions session_options;
    session_options.writable = true;
    session_options.engine = options.engine;
    session_options.quiet = true;
    session_options.commit_interval_ms = commit_interval_ms;
    const VolumeSession session(options.volume, session_options);
    for (unsigned thread = 0; thread < options.threads; ++thread) {
      const auto made = session.volume().mkdir(folder_of(thread));
      if (!made && made.error().code() != handback::Errc::exists) {
        throw failure_of(made.error(), folder_of(thread));
      }
    }
    value_of(session.volume().sync(session.issuer()), options.volume);
    std::vector<std::thread> threads;
    for (unsigned thread = 1; thread < options.threads; ++thread) {
      threads.emplace_back([&, thread] { work(session.volume(), shared, thread, options); });
    }
    work(session.volume(), shared, 0, options);
    for (std::thread& thread : threads)
      thread.join();
  } catch (const Failure& failure) {
    note_failure(shared, failure.what());
  }
  return exit_failed;
}

}  // namespace tool::kill_loops
