// Handed-back work is claimed by taking the whole inbox in one exchange: owner and adopter race, and
// every request is settled once and delivered once, by its owner.
// stands for: src/issuer/inbox.h: take
// stands for: src/issuer/adoption.cc: adopt
// stands for: src/issuer/issuer_impl.cc: take_foreign
// stands for: src/issuer/issuer_impl.cc: kiocb_complete
// stands for: src/issuer/issuer_impl.cc: deliver_ready
// twin: CLAIM_BY_LOAD_AND_STORE two takers may see the same inbox
// twin: ADOPTER_DELIVERS the callback runs on a thread that is not the issuer's
#ifndef REQUESTS
#define REQUESTS 3
#endif
#define ALL ((1 << REQUESTS) - 1)

byte handed = 0;   // A bit for each request that nobody has claimed.
byte settled_inbox = 0;
byte ever_settled = 0;
byte ever_delivered = 0;

inline take(into) {
#ifdef CLAIM_BY_LOAD_AND_STORE
  into = handed;
  handed = 0
#else
  atomic { into = handed; handed = 0 }
#endif
}

inline settle_all(mask) {
  atomic {
    assert((ever_settled & mask) == 0);
    ever_settled = ever_settled | mask
  }
}

inline deliver_all(mask, by_owner) {
  atomic {
    assert(by_owner);
    assert((ever_delivered & mask) == 0);
    ever_delivered = ever_delivered | mask
  }
}

active proctype device() {
  byte i = 0;
  do
  :: i < REQUESTS -> atomic { handed = handed | (1 << i); i++ }
  :: else -> break
  od
}

active proctype adopter() {
  byte mine;
  byte rounds = 0;
  do
  :: rounds < 2 && handed != 0 ->
    take(mine);
    settle_all(mine);
#ifdef ADOPTER_DELIVERS
    deliver_all(mine, false);
#else
    atomic { settled_inbox = settled_inbox | mine }
#endif
    mine = 0;
    rounds++
  :: rounds == 2 || ever_delivered == ALL -> break
  od
}

active proctype owner() {
  byte mine;
  do
  :: ever_delivered == ALL -> break
  :: handed != 0 -> take(mine); settle_all(mine); deliver_all(mine, true); mine = 0
  :: atomic { settled_inbox != 0 -> mine = settled_inbox; settled_inbox = 0 }
     deliver_all(mine, true);
     mine = 0
  od
}
