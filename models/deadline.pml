// A bio at a device with a deadline ends once, by its answer or at the deadline, also if the answer
// comes later or never; a late answer touches neither the caller's bio nor a lane that is gone.
// stands for: src/block/deadline_lane.cc: claim
// stands for: src/block/deadline_lane.cc: answered
// stands for: src/block/deadline_lane.cc: answered_late
// stands for: src/block/deadline_lane.cc: end_late
// stands for: src/block/deadline_device.cc: collect_answered
// twin: CLAIM_BY_LOAD_AND_STORE answer and deadline may both have the shadow
// twin: NO_CLAIM the deadline ends the bio without asking whether it was answered
// twin: LATE_ANSWER_ENDS_THE_BIO the answer ends a bio that the caller was told of before
// twin: COUNT_AFTER_CLAIM the answer counts down what was not counted yet
// twin: END_BEFORE_GIVE_BACK the caller closes the queue before the shadow is back
// twin: LANE_GOES_WITH_THE_QUEUE nothing is kept for late answers
#ifndef BIOS
#define BIOS 2
#endif

mtype = { in_flight, late, free };
mtype state[BIOS] = in_flight;
bool ended[BIOS];      // The caller's bio, which may be gone from then on.
byte ends = 0;
byte overdue = 0;
bool lane_gone = false;

inline claim(i, as, won) {
#ifdef CLAIM_BY_LOAD_AND_STORE
  if
  :: state[i] == in_flight -> state[i] = as; won = true
  :: else -> won = false
  fi
#else
  atomic {
    if
    :: state[i] == in_flight -> state[i] = as; won = true
    :: else -> won = false
    fi
  }
#endif
}

inline end_bio(i) {
  atomic { assert(!ended[i]); ended[i] = true; ends++ }
}

inline give_back(i) {
  atomic { assert(!lane_gone); state[i] = free }
}

// A foreign thread. It may never come.
proctype answer(byte i) {
  bool won;
  if
  :: claim(i, free, won);
     if
     :: won ->
#ifdef END_BEFORE_GIVE_BACK
       end_bio(i);
       give_back(i)
#else
       give_back(i);
       end_bio(i)
#endif
     :: else ->
#ifdef LATE_ANSWER_ENDS_THE_BIO
       end_bio(i);
#endif
       give_back(i);
       atomic { assert(!lane_gone); assert(overdue > 0); overdue-- }
     fi
  :: true
  fi
}

// The thread of the queue: looks at all that is in flight, then closes.
active proctype owner() {
  bool won;
  byte i = 0;
  do
  :: i < BIOS -> run answer(i); i++
  :: else -> break
  od
  i = 0;
  do
  :: i < BIOS ->
#ifndef COUNT_AFTER_CLAIM
    overdue++;
#endif
#ifdef NO_CLAIM
    state[i] = late;
    won = true;
#else
    claim(i, late, won);
#endif
#ifdef COUNT_AFTER_CLAIM
    if
    :: won -> overdue++
    :: else
    fi
#else
    if
    :: won
    :: else -> overdue--
    fi;
#endif
    if
    :: won -> end_bio(i)
    :: else
    fi;
    i++
  :: else -> break
  od
  // Every bio ends, whatever was answered.
  ends == BIOS;
#ifndef LANE_GOES_WITH_THE_QUEUE
  // The device keeps the lane from here on; for ever, if an answer never comes.
end_kept:
  overdue == 0;
#endif
  lane_gone = true
}
