"""What changes a user in Redis, each as one step that no other writer comes between.

All that is kept of a user is one hash: the history in the field ``h``, and a field for each model
with the latent that it made of that history. So one DEL forgets a user, on a cluster too, and
nothing of them outlives the rest. A history ends in its stamp (``history_codec``), and a script
with a condition compares stamps: a writer reads, works, and writes only if nobody else has.

What is kept of a user who was forgotten is an empty history, for a bounded time: it holds when
that was, and bars a history that was posted before and arrives late (``write_order``).

A script that keeps something sets before it drops: a full Redis then refuses the first command,
and all is left as it was. One that forgets drops first: that makes room, and what it sets then is
taken.
"""

from typing import Final

from service.latents.history_codec import CHANGED_AT, STAMP_BYTES

HISTORY_FIELD: Final = "h"
NOT_THERE: Final = b""

_HAS_STAMP: Final = (
    f"if string.sub(redis.call('HGET', KEYS[1], 'h') or '', -{STAMP_BYTES}) ~= ARGV[1] then"
    " return 0 end\n"
)

# ARGV: history, milliseconds to live, when it was posted; field and record where there is one.
# What another hand put there, goes. Returns 0 where something has been kept since.
REPLACE: Final = f"""
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local kept = redis.call('HGET', KEYS[1], 'h') or ''
local changed_at = tonumber(string.sub(kept, {CHANGED_AT.start + 1}, {CHANGED_AT.stop})) or 0
if changed_at > tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'h', ARGV[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if field ~= 'h' and field ~= ARGV[4] then redis.call('HDEL', KEYS[1], field) end
end
return 1
"""

# ARGV: empty history, milliseconds to live.
FORGET: Final = """
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'h', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

# ARGV: stamp of the history before (empty: there is none), history, milliseconds to live.
# Returns 0 where another writer was faster.
EXTEND: Final = _HAS_STAMP + (
    """
redis.call('HSET', KEYS[1], 'h', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if field ~= 'h' then redis.call('HDEL', KEYS[1], field) end
end
return 1
"""
)

# ARGV: stamp of the history that the record was made of, field, record. The time to live stays.
# Returns 0 where the user has another history by now, or none.
ADD_DERIVED: Final = _HAS_STAMP + (
    """
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
"""
)
