// A buffered read that finds its page not up to date arms its one wait entry and is driven again when
// the page's I/O has ended: it ends once, is woken once for each arming, and never after it has ended.
// stands for: src/pagecache/page_wait.h: arm
// stands for: src/pagecache/page_wait.h: take_all
// stands for: src/pagecache/page_wait.h: wake_all
// stands for: src/pagecache/page_wait.h: cancel
// stands for: src/issuer/issuer_impl.cc: redrive
// twin: LOOK_THEN_ARM the look at the page and the arming are two holds of the lock
// twin: NO_WAKE_UNLESS_UP_TO_DATE an I/O that failed, or whose page is stale, wakes nobody
// twin: NEXT_AFTER_WAKE the walk reads its next entry out of one that may be gone, or armed elsewhere
// twin: MARKED_WHEN_WOKEN cancel says true of an entry that was taken, its wake on its way
// twin: CANCEL_LOOKS_BEFORE_LOCK cancel says true of an entry that was taken after it had looked
// twin: ENDS_WITHOUT_ITS_WAKE cancel says false and the read ends all the same
// twin: RETRY_KEEPS_NOWAIT the read is driven again with the NOWAIT that it came with
// twin: ARMED_FOR_TWO_PAGES the one entry is put on the next page's list as well
// twin: LEFT_ON_THE_LIST the list is walked, and not taken
#define READERS 2
#define PAGES 2
#define NOBODY 255

// The cache: under the lock, which is what each atomic below is.
bool up_to_date[PAGES];
bool under_io[PAGES];
bool stale[PAGES];     // Invalidated while under I/O.
byte head[PAGES];      // Of the list of those that wait for the page.

// The entries, one for each read.
byte next[READERS];
bool armed[READERS];
byte armed_for[READERS];

bool submitted[PAGES];
byte posted[READERS];  // In the queue of the read's issuer.

// What is only looked at.
bool gone[READERS];    // The read has ended, and its entry with it.
bool owed[READERS];    // One wake, for one arming.
byte ended = 0;

inline arm(me, on) {
  assert(!gone[me]);
  assert(!armed[me]);
  next[me] = head[on];
  head[on] = me;
  armed_for[me] = on;
  armed[me] = true;
  owed[me] = true
}

// Requires: the lock.
inline unlink(me) {
  before = NOBODY;
  at = head[armed_for[me]];
  do
  :: at == NOBODY || at == me -> break
  :: else -> before = at; at = next[at]
  od;
  if
  :: at == NOBODY  // Not in the list: only a twin comes here.
  :: at == me && before == NOBODY -> head[armed_for[me]] = next[me]
  :: at == me && before != NOBODY -> next[before] = next[me]
  fi;
  armed[me] = false;
  owed[me] = false;
  before = NOBODY;
  at = NOBODY
}

inline end_of_read(me) {
  atomic {
    assert(!gone[me]);
    assert(!armed[me] && !owed[me] && posted[me] == 0);
    gone[me] = true;
    ended++
  }
}

proctype reader(byte me) {
  byte page = 0;
  byte before = NOBODY;
  byte at = NOBODY;
  bool nowait = true;
  bool retry = false;
  bool starts = false;
  bool queued = false;
  bool leaves = false;  // A thread that stays must not need a cancel.
  bool unlinked = false;
  if
  :: leaves = true
  :: skip
  fi;
drive:
  // One call of read.
  assert(!(retry && nowait));
  do
  :: page == PAGES -> end_of_read(me); goto out
  :: else ->
     atomic {
       if
       :: up_to_date[page] -> page++
       :: else ->
          if
          :: !under_io[page] -> under_io[page] = true; starts = true
          :: else
          fi;
#ifndef LOOK_THEN_ARM
          arm(me, page);
#endif
#ifdef ARMED_FOR_TWO_PAGES
          if
          :: page + 1 < PAGES && !up_to_date[page + 1] -> arm(me, page + 1)
          :: else
          fi;
#endif
          queued = true
       fi
     }
#ifdef LOOK_THEN_ARM
     if
     :: queued -> atomic { arm(me, page) }
     :: else
     fi;
#endif
     if
     :: starts -> starts = false; submitted[page] = true
     :: else
     fi;
     if
     :: queued -> queued = false; break
     :: else
     fi
  od;
  // It returned "queued".
  if
  :: atomic { posted[me] > 0 -> posted[me]-- }
  :: leaves -> goto cancel
  fi;
  // From the issuer's own context.
  retry = true;
#ifndef RETRY_KEEPS_NOWAIT
  nowait = false;
#endif
  goto drive;
cancel:
#ifdef CANCEL_LOOKS_BEFORE_LOCK
  unlinked = armed[me];
  if
  :: unlinked -> atomic { unlink(me) }
  :: else
  fi;
#else
  atomic {
    if
    :: armed[me] -> unlink(me); unlinked = true
    :: else
    fi
  }
#endif
#ifndef ENDS_WITHOUT_ITS_WAKE
  if
  :: unlinked
  :: else -> atomic { posted[me] > 0 -> posted[me]-- }
  fi;
#endif
  end_of_read(me);
out:
  skip
}

// Reads the next pointer first: after the post the entry is somebody else's.
inline wake_all() {
  do
  :: entry == NOBODY -> break
  :: else ->
     assert(!gone[entry]);
#ifndef NEXT_AFTER_WAKE
     following = next[entry];
#endif
     atomic {
       assert(!gone[entry]);
       assert(owed[entry]);
       owed[entry] = false;
#ifdef MARKED_WHEN_WOKEN
       armed[entry] = false;
#endif
       posted[entry]++
     }
#ifdef NEXT_AFTER_WAKE
     atomic { assert(!gone[entry]); following = next[entry] }
#endif
     atomic { entry = following; following = NOBODY }
  od
}

// The end of each I/O of one page.
proctype device(byte page) {
  byte entry = NOBODY;
  byte following = NOBODY;
  bool failed_before = false;
end:
  do
  :: atomic { submitted[page] -> submitted[page] = false }
     atomic {
       assert(under_io[page] && !up_to_date[page]);
       if
       :: stale[page] -> stale[page] = false
       :: !stale[page] -> up_to_date[page] = true
       :: !stale[page] && !failed_before -> failed_before = true
       fi;
       under_io[page] = false;
#ifdef NO_WAKE_UNLESS_UP_TO_DATE
       if
       :: up_to_date[page] -> entry = head[page]; head[page] = NOBODY
       :: else
       fi;
#else
       entry = head[page];
#ifndef LEFT_ON_THE_LIST
       head[page] = NOBODY;
#endif
#endif
#ifndef MARKED_WHEN_WOKEN
       following = entry;
       do
       :: following == NOBODY -> break
       :: else ->
          assert(!gone[following]);
          armed[following] = false;
          following = next[following]
       od
#endif
     }
     wake_all()
  od
}

// Each page once, at any time.
proctype invalidation() {
  byte page = 0;
  do
  :: page == PAGES -> break
  :: else ->
     atomic {
       if
       :: under_io[page] -> stale[page] = true
       :: else -> up_to_date[page] = false
       fi;
       page++
     }
  od
}

init {
  byte i = 0;
  atomic {
    do
    :: i < PAGES -> head[i] = NOBODY; run device(i); i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < READERS -> next[i] = NOBODY; run reader(i); i++
    :: else -> break
    od;
    i = 0;
    run invalidation()
  }
  (ended == READERS);
  assert(head[0] == NOBODY && head[1] == NOBODY)
}
