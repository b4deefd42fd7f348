// A freeze ends, whatever a submitter does meanwhile: who is kept out stands in line without
// blocking, and the freeze settles what has been handed back to others.
// stands for: src/volume/freeze.cc: wait_until_held
// stands for: src/volume/freeze.cc: let_all_go
// stands for: src/dio/engine.cc: enter_range
// stands for: src/issuer/adoption.cc: adopt
// twin: THE_KERNELS_FREEZE the gate blocks its task, and only that task can run what is handed back to it
// twin: NO_ADOPTION the submitter is outside the library until somebody thaws
// twin: COUNT_AT_DELIVER the count waits for a task that waits for the thaw
// twin: LINE_FORGOTTEN a thaw that does not start who stands in line
#ifndef REQUESTS
#define REQUESTS 2
#endif

byte in_flight = 0;
byte line = 0;       // Kept out by the freeze.
byte handed = 0;     // Handed back and not claimed.
byte settled = 0;
byte delivered = 0;
bool gate = false;   // Writes are kept out.
bool thawed = false;

inline settle() {
  atomic {
    settled++;
#ifndef COUNT_AT_DELIVER
    in_flight--;
#endif
  }
}

inline poll() {
  do
  :: atomic { handed > 0 -> handed-- } settle()
  :: atomic {
       settled > 0 ->
       settled--;
       delivered++;
#ifdef COUNT_AT_DELIVER
       in_flight--;
#endif
     }
  :: delivered == REQUESTS -> break
  od
}

active proctype submitter() {
  byte left = REQUESTS;
  do
  :: left > 0 ->
#ifdef THE_KERNELS_FREEZE
     atomic { !gate -> in_flight++; handed++ }
#else
     atomic {
       if
       :: gate -> line++
       :: else -> in_flight++; handed++
       fi
     }
#endif
     left--
  :: left == 0 -> break
  od;
  if
  :: skip
  :: true -> (thawed)  // Outside the library until then.
  fi;
  poll()
}

active proctype freezer() {
  gate = true;
  do
  :: in_flight == 0 -> break
#if !defined(NO_ADOPTION) && !defined(THE_KERNELS_FREEZE)
  :: atomic { handed > 0 -> handed-- } settle()
#endif
  od;
  assert(in_flight == 0);
  atomic {
    gate = false;
#ifndef LINE_FORGOTTEN
    in_flight = in_flight + line;
    handed = handed + line;
#endif
    line = 0;
    thawed = true
  }
}
