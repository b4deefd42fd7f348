// An issuer says that it sleeps, then looks at its inboxes once more; who pushes looks for a sleeper
// afterwards. Neither order may be turned round by a store buffer.
// stands for: src/issuer/wake.h: announce_sleep
// stands for: src/issuer/wake.h: wake
// stands for: src/issuer/wake.h: end_sleep
// stands for: src/issuer/issuer_impl.h: sleep
// stands for: src/issuer/inbox.h: push
// twin: NO_LOOK what came before the flag was seen is slept through
// twin: STORE_BUFFER the flag is still on its way when the inbox is looked at
#ifndef PUSHES
#define PUSHES 2
#endif

byte inbox = 0;
bool sleeping = false;
byte wakeups = 0;  // Written to the eventfd and not read.

active [PUSHES] proctype pusher() {
  inbox++;
  bool seen;
  seen = sleeping;
  if
  :: seen ->
    atomic {
      if
      :: sleeping -> sleeping = false; wakeups++
      :: else
      fi
    }
  :: else
  fi
}

active proctype owner() {
  byte taken = 0;
  do
  :: taken == PUSHES -> break
  :: else ->
    atomic { taken = taken + inbox; inbox = 0 }
    if
    :: taken == PUSHES -> break
    :: else
    fi;
#ifdef STORE_BUFFER
    // The look comes before the store reaches the others.
    bool found;
    found = (inbox != 0);
    sleeping = true;
    if
    :: found
    :: else -> atomic { wakeups > 0 -> wakeups-- }
    fi;
#else
    sleeping = true;
    if
#ifndef NO_LOOK
    :: inbox != 0
    :: inbox == 0 -> atomic { wakeups > 0 -> wakeups-- }
#else
    :: true -> atomic { wakeups > 0 -> wakeups-- }
#endif
    fi;
#endif
    // A waker that won the flag has written, or will.
    atomic {
      if
      :: sleeping -> sleeping = false
      :: else -> wakeups = 0
      fi
    }
  od
}
