// A dio is completed once, by whoever drops its last reference: the submission holds one until every
// bio is on its way.
// stands for: src/dio/reference_count.h: drop
// stands for: src/dio/engine.cc: bio_end
// stands for: src/dio/engine.cc: drop_last_reference
// stands for: src/dio/engine.cc: start
// twin: NO_REFERENCE_OF_THE_SUBMISSION counted bio by bio, it reaches zero between two
// twin: COUNTED_AFTER_SUBMISSION a bio ends before it was counted
#ifndef BIOS
#define BIOS 3
#endif

short references = 0;
byte submitted = 0;
byte ended = 0;
byte completed = 0;

inline drop() {
  short left;
  atomic { references--; left = references }
  if
  :: left == 0 ->
    completed++;
    assert(completed == 1);
    assert(submitted == BIOS && ended == BIOS)
  :: else
  fi
}

proctype bio() {
  ended++;
  drop()
}

active proctype submission() {
#ifdef NO_REFERENCE_OF_THE_SUBMISSION
  do
  :: submitted < BIOS -> references++; submitted++; run bio()
  :: else -> break
  od
#else
#ifndef COUNTED_AFTER_SUBMISSION
  references = BIOS + 1;
#endif
  do
  :: submitted < BIOS -> submitted++; run bio()
  :: else -> break
  od;
#ifdef COUNTED_AFTER_SUBMISSION
  references = BIOS + 1;
#endif
  drop();
#endif
  (_nr_pr == 1) -> assert(completed == 1)
}
