// Appends fly side by side and the size is published in order: it never covers bytes that were not
// written, whatever order the device ends them in and whichever of them fails; and each of them ends.
// stands for: src/dio/range_table.h: enter
// stands for: src/dio/range_table.h: may_publish
// stands for: src/dio/range_table.h: end_extending
// twin: ANY_ORDER a size is published as soon as its own data is down
// twin: FAILURE_NOT_TOLD those behind a failed append publish over the gap
// twin: GAP_STOPS_THERE who was canceled does not tell those behind it
// twin: LOOK_THEN_WAIT the look for earlier ones and the mark that one waits are two steps
// twin: WAITS_FOR_LATER an append waits for all others in flight, not for those before it
// twin: PLACE_AT_SIZE a place is taken at the published end, not behind those in flight
#ifndef WRITES
#define WRITES 3
#endif
#define BLOCKS WRITES
#define NOBODY 255

byte size = 0;              // Blocks that readers see.
byte content[BLOCKS];       // Whose bytes each block holds.
byte reserved = 0;          // Where the farthest of those in flight ends.
byte extending_count = 0;
byte orders = 0;
byte order[WRITES];
byte place[WRITES];
bool extending[WRITES];
bool waits[WRITES];
bool publishable[WRITES];
bool behind_gap[WRITES];
byte ended = 0;

#ifdef WAITS_FOR_LATER
#define BEFORE(other, me) (extending[other] && other != me)
#else
#define BEFORE(other, me) (extending[other] && order[other] < order[me])
#endif

// Three by name: an expression of Promela has no loop.
#define AWAITS(me) (BEFORE(0, me) || BEFORE(1, me) || BEFORE(2, me))

inline wake(other) {
  if
  :: waits[other] && !AWAITS(other) -> waits[other] = false; publishable[other] = true
  :: else
  fi
}

inline tell(other, me) {
  if
  :: extending[other] && order[other] > order[me] -> behind_gap[other] = true
  :: else
  fi
}

proctype append(byte me) {
  bool failed = false;
  bool canceled = false;
  atomic {
#ifdef PLACE_AT_SIZE
    place[me] = size;
#else
    place[me] = (extending_count > 0 && reserved > size -> reserved : size);
#endif
    if
    :: place[me] < BLOCKS
    :: else -> ended++; goto out  // No room for more: not what this is about.
    fi;
    order[me] = orders;
    orders++;
    reserved = (extending_count > 0 && reserved > place[me] + 1 -> reserved : place[me] + 1);
    extending_count++;
    extending[me] = true
  }
  // The device: down, or failed.
  if
  :: content[place[me]] = me
  :: failed = true
  fi;
#ifndef ANY_ORDER
#ifdef LOOK_THEN_WAIT
  if
  :: AWAITS(me) -> waits[me] = true; (publishable[me])
  :: else
  fi;
#else
  atomic {
    if
    :: AWAITS(me) -> waits[me] = true
    :: else -> publishable[me] = true
    fi
  }
  (publishable[me]);
#endif
#endif
  atomic {
    canceled = failed || behind_gap[me];
    if
    :: canceled
    :: else ->
       assert(size == place[me]);           // Nothing is left out below it,
       assert(content[place[me]] == me);    // and its own bytes are there.
       size = place[me] + 1
    fi
  }
  atomic {
    extending[me] = false;
    extending_count--;
#ifndef FAILURE_NOT_TOLD
    if
#ifdef GAP_STOPS_THERE
    :: failed ->
#else
    :: canceled ->
#endif
       tell(0, me);
       tell(1, me);
       tell(2, me)
    :: else
    fi;
#endif
    wake(0);
    wake(1);
    wake(2);
    ended++
  }
out:
  skip
}

init {
  atomic {
    byte i = 0;
    do
    :: i < BLOCKS -> content[i] = NOBODY; i++
    :: else -> break
    od;
    run append(0);
    run append(1);
    run append(2)
  }
  (ended == WRITES)
}
