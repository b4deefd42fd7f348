// A direct write beside the page cache: a read that starts after it was acknowledged sees it, nothing
// older is written back over it, and no buffered write beside it, before or after, is lost.
// stands for: src/pagecache/address_space.cc: invalidate
// stands for: src/pagecache/page_io.cc: end_read
// stands for: src/volume/direct_beside_cache.cc: leave
// stands for: src/pagecache/write_back.cc: flush_step
// twin: INVALIDATED_BEFORE_ONLY the page that was read during the I/O stays up to date
// twin: INVALIDATED_BEFORE_CONVERSION the page that was read before the conversion stays, all zeros
// twin: UNDER_READ_NOT_MARKED the end of a read that sampled the old content makes it up to date
// twin: WAITER_DOES_NOT_LOOK who waited for such a read copies what it brought
// twin: NOT_EXCLUDED a buffered write dirties the page that was read before the direct write
// twin: GIVEN_BACK_TOO_EARLY the same, with the range given back before the second invalidation
// twin: DIRTY_LEFT a direct write starts over a dirty page
// twin: WRITE_BACK_NOT_WAITED a write-back that has started lands on the direct write
// twin: CONVERTED_BEFORE_DOWN a read sees what was on the device before the file had it
#ifndef REQUESTS
#define REQUESTS 2  // Buffered reads of each of the two readers, and as many buffered writes.
#endif
#define HALVES 2    // Of the page: a buffered write is of the second, a direct one of the first or both.
#define ZEROS 0
#define FOREIGN 1   // What an unwritten block holds: nobody may see it.
#define OLD 2
#define DIRECT 3
#define BUFFERED 4  // And above: one for each buffered write.

// The file below the cache.
byte device[HALVES];
bool written[HALVES];     // Converted: before that, reads are zeros.
bool in_between = false;  // A read of what the direct write covers finds either.

// The page, each step under the lock.
byte page[HALVES];
bool up_to_date = false;
bool under_read = false;
bool stale = false;
bool dirty = false;
bool under_write_back = false;

bool range_taken = false;
byte covers;              // Halves that the direct write covers.

// What is only looked at.
byte expected[HALVES];    // By the order of the writes.
bool acknowledged = false;
byte ended = 0;

inline take_range() {
  atomic { !range_taken -> range_taken = true }
}

inline give_back_range() {
  range_taken = false
}

inline invalidate() {
  atomic {
    if
#ifdef UNDER_READ_NOT_MARKED
    :: under_read
#else
    :: under_read -> stale = true
#endif
    :: !under_read && !dirty && !under_write_back -> up_to_date = false
    :: else  // What is dirty is somebody's.
    fi
  }
}

// One half, at any moment after the look at the mapping.
inline sample(half, is_written) {
  if
  :: !is_written -> page[half] = ZEROS
  :: is_written -> page[half] = device[half]
  :: is_written && in_between && half < covers -> page[half] = DIRECT
  fi
}

// Requires: it was this process that set under_read.
inline read_page() {
  d_step { first_written = written[0]; second_written = written[1] }
  atomic { sample(0, first_written) }
  atomic { sample(1, second_written) }
  d_step {
    first_written = false;
    second_written = false;
    // end_read
    under_read = false;
    up_to_date = !stale;
    stale = false
  }
}

inline convert() {
  d_step {
    written[0] = true;
    if
    :: covers == HALVES -> written[1] = true
    :: else
    fi
  }
}

proctype direct_writer() {
  take_range();
  // Write back what is dirty there; the write-back itself is its own process.
#ifndef DIRTY_LEFT
#ifdef WRITE_BACK_NOT_WAITED
  (!dirty);
#else
  (!dirty && !under_write_back);
#endif
#endif
  invalidate();
#ifdef CONVERTED_BEFORE_DOWN
  convert();
#endif
  d_step {
    in_between = true;
    expected[0] = DIRECT;
    if
    :: covers == HALVES -> expected[1] = DIRECT
    :: else
    fi
  }
  d_step {
    in_between = false;
    device[0] = DIRECT;
    if
    :: covers == HALVES -> device[1] = DIRECT
    :: else
    fi
  }
#ifdef INVALIDATED_BEFORE_CONVERSION
  invalidate();
#endif
  // settled
#ifndef CONVERTED_BEFORE_DOWN
  convert();
#endif
#ifdef GIVEN_BACK_TOO_EARLY
  give_back_range();
#endif
#if !defined(INVALIDATED_BEFORE_ONLY) && !defined(INVALIDATED_BEFORE_CONVERSION)
  invalidate();
#endif
#ifndef GIVEN_BACK_TOO_EARLY
  give_back_range();
#endif
  acknowledged = true;
  ended++
}

inline copy() {
  assert(page[0] != FOREIGN && page[1] != FOREIGN);
  assert(!after || (page[0] == expected[0] && page[1] == expected[1]));
  after = false;
  reads++
}

proctype reader() {
  byte reads = 0;
  bool after = false;
  bool first_written = false;
  bool second_written = false;
  do
  :: reads == REQUESTS -> break
  :: else ->
     after = acknowledged;
again:
     if
     :: d_step { up_to_date -> copy() }
     :: atomic { !up_to_date && !under_read -> under_read = true }
        read_page();
        goto again
     :: !up_to_date && under_read ->
        (!under_read);
#ifdef WAITER_DOES_NOT_LOOK
        d_step { copy() }
#else
        goto again
#endif
     fi
  od;
  ended++
}

proctype buffered_writer() {
  byte writes = 0;
  bool first_written = false;
  bool second_written = false;
  do
  :: writes == REQUESTS -> break
  :: else ->
#ifndef NOT_EXCLUDED
     take_range();
#endif
again:
     // Of a part of the page: the rest has to be there first.
     if
     :: d_step {
          up_to_date ->
          page[1] = BUFFERED + writes;
          expected[1] = BUFFERED + writes;
          dirty = true;
          writes++
        }
     :: atomic { !up_to_date && !under_read -> under_read = true }
        read_page();
        goto again
     :: !up_to_date && under_read -> (!under_read); goto again
     fi;
#ifndef NOT_EXCLUDED
     give_back_range()
#endif
  od;
  ended++
}

// At any time. What it writes is never older than what is below it.
proctype write_back() {
end:
  do
  :: atomic { dirty -> dirty = false; under_write_back = true }
     d_step { assert(page[0] == expected[0]); device[0] = page[0] }
     d_step { assert(page[1] == expected[1]); device[1] = page[1] }
     d_step { written[0] = true; written[1] = true }
     under_write_back = false
  od
}

init {
  atomic {
    if
    :: device[0] = OLD; device[1] = OLD; written[0] = true; written[1] = true;
       expected[0] = OLD; expected[1] = OLD
    :: device[0] = FOREIGN; device[1] = FOREIGN
    fi;
    if
    :: covers = 1
    :: covers = HALVES
    fi;
    run direct_writer();
    run reader();
    run reader();  // Only another's read can be waited for across the whole direct write.
    run buffered_writer();
    run write_back()
  }
  (ended == 4 && !dirty && !under_write_back);
  assert(written[0] && device[0] == expected[0]);
  assert(written[1] && device[1] == expected[1])
}
