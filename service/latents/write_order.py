"""In what order the writes of several processes count: as they were made, not as they arrive.

A posted history is answered first and written after; while Redis is out, much later. Meanwhile
another process may have taken an event, a newer history or a deletion of the same user. So each
carries the time at which it was made, and a history that arrives late leaves what it would have
left in time: nothing where the user was forgotten or has posted anew since, and else itself with
the events that came after it.

The time is that of the wall clock: processes on one machine share it, and of several machines it
is assumed that NTP holds their clocks together within the milliseconds that a caller needs to
send the next request after an answer. Events and deletions need no clock to meet what is written
already: an event adds to it, and a deletion drops it, whatever its time.
"""

import time
from typing import Final

# So late a posted history is written at most: the stand-in for a Redis that is out lets go of what
# is older.
LATEST_S: Final = 3600.0
LATEST_US: Final = int(LATEST_S * 1e6)

# So long it is known that a user was forgotten, or has an empty history: longer than a write may
# be late, with ten minutes for what it may have waited before it came to the stand-in.
MARK_TTL_S: Final = LATEST_S + 600

# A time further ahead is of a clock that was wrong, and orders nothing: else what is posted would
# be passed over until the right clocks have caught up.
MAX_SKEW_US: Final = 1_000_000


def wall_clock_us() -> int:
    """Give the microseconds since 1970."""
    return time.time_ns() // 1000
