// One signal is enough to make a thread reap its ring: outside the library its handler does it,
// inside it leaves a mark that is served when the shield is lowered.
// stands for: src/base/shield.h: shield_lower
// stands for: src/base/shield.cc: shield_serve_pending
// stands for: src/base/shield.cc: shield_nudged
// stands for: src/issuer/adoption.cc: serve_nudge
// stands for: src/issuer/adoption.cc: nudge
// twin: NO_SHIELD the handler runs in the middle of what it interrupted
// twin: MARK_NOT_SERVED the thread leaves the library and forgets the mark
// twin: LOOK_BEFORE_LOWERING a signal between the look and the lowering is lost
byte raised = 0;
bool pending = false;
bool inside = false;    // The library's own lists are half changed.
bool in_ring = true;    // A completion that only the owner's thread can reap.
bool published = false; // Where the drainer can adopt it.
bool signalled = false;
bool owner_runs = true; // The handler interrupts the owner: they are one thread.

inline serve() {
  assert(!inside);
  if
  :: in_ring -> in_ring = false; published = true
  :: else
  fi
}

// Runs as a whole between two steps of the owner.
active proctype handler() {
  atomic {
    signalled ->
#ifdef NO_SHIELD
    serve()
#else
    pending = true;
    if
    :: raised == 0 -> pending = false; serve()
    :: else
    fi
#endif
  }
}

active proctype owner() {
  raised = 1;
  inside = true;
  inside = false;
#ifdef LOOK_BEFORE_LOWERING
  if
  :: pending -> pending = false; serve()
  :: else
  fi;
  raised = 0
#else
  raised = 0;
#ifndef MARK_NOT_SERVED
  atomic {
    if
    :: pending -> pending = false; serve()
    :: else
    fi
  }
#endif
#endif
  // From here on outside the library, for good.
}

active proctype drainer() {
  signalled = true;
  published
}
