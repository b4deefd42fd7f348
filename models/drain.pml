// A drain ends whatever the issuers of the I/O in flight are doing: who waits settles its own
// handed-back work and adopts everybody else's, the count drops at settle, and nothing is delivered.
// stands for: src/issuer/issuer_impl.h: wait_until_helped
// stands for: src/issuer/issuer_impl.cc: run_handed_back
// stands for: src/issuer/adoption.cc: adopt
// stands for: src/dio/range_table.h: leave
// twin: WAIT_RUNS_NOTHING the kernel's self-drain: the completion is in the waiter's own queue
// twin: NO_ADOPTION running one's own queue is not enough: the other thread is elsewhere
// twin: COUNT_AT_DELIVER the count waits for a delivery that waits for the drain
// twin: DELIVER_WHILE_WAITING a callback wants the lock that is held over the drain
#ifndef REQUESTS
#define REQUESTS 1
#endif

byte in_flight = 0;
byte handed[2];     // Handed back and not claimed.
byte settled[2];    // Waiting for its owner to deliver it.
byte delivered[2];
bool user_lock = false;
byte drained = 0;

inline settle(owner) {
  atomic {
    settled[owner]++;
#ifndef COUNT_AT_DELIVER
    in_flight--;
#endif
  }
}

inline deliver(owner) {
  // The callback takes the user's lock.
  atomic { !user_lock -> user_lock = true }
  atomic {
    settled[owner]--;
    delivered[owner]++;
#ifdef COUNT_AT_DELIVER
    in_flight--;
#endif
    user_lock = false
  }
}

inline drain(me, other) {
  do
  :: in_flight == 0 -> break
#ifndef WAIT_RUNS_NOTHING
  :: atomic { handed[me] > 0 -> handed[me]-- } settle(me)
#ifndef NO_ADOPTION
  :: atomic { handed[other] > 0 -> handed[other]-- } settle(other)
#endif
#endif
#ifdef DELIVER_WHILE_WAITING
  :: settled[me] > 0 -> deliver(me)
#endif
  od;
  drained++
}

proctype issuer(byte me) {
  byte other = 1 - me;
  byte left = REQUESTS;
  do
  :: left > 0 -> atomic { in_flight++; handed[me]++; left-- }
  :: left == 0 -> break
  od;
  if
  :: drain(me, other)
  :: atomic { !user_lock -> user_lock = true } drain(me, other); user_lock = false
  :: me == 1 -> drained > 0  // Outside the library until somebody has drained.
  fi;
  do
  :: delivered[me] == REQUESTS -> break
  :: atomic { handed[me] > 0 -> handed[me]-- } settle(me)
  :: settled[me] > 0 -> deliver(me)
  od
}

init {
  atomic { run issuer(0); run issuer(1) }
  // The last step of both: everything was settled and delivered once.
  (_nr_pr == 1) -> assert(in_flight == 0 && delivered[0] == REQUESTS && delivered[1] == REQUESTS)
}
