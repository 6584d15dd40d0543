"""What changes a user in Redis, each as one step that no other writer comes between.

All that is kept of a user is one hash: the history in the field ``h``, and a field for each model
with the latent that it made of that history. So one DEL forgets a user, on a cluster too, and
nothing of them outlives the rest. A history ends in its stamp (``history_codec``), and a script
with a condition compares stamps: a writer reads, works, and writes only if nobody else has.

Every script sets before it drops: a full Redis then refuses the first command, and all is left
as it was.
"""

from typing import Final

from service.latents.history_codec import STAMP_BYTES

HISTORY_FIELD: Final = "h"
NOT_THERE: Final = b""

_HAS_STAMP: Final = (
    f"if string.sub(redis.call('HGET', KEYS[1], 'h') or '', -{STAMP_BYTES}) ~= ARGV[1] then"
    " return 0 end\n"
)

# ARGV: history, milliseconds to live, field, record. What another hand put there, goes.
REPLACE: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'h', ARGV[1], ARGV[3], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if field ~= 'h' and field ~= ARGV[3] then redis.call('HDEL', KEYS[1], field) end
end
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
