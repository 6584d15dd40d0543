"""The bytes of a kept history: whose it is, and whether it is whole.

It proves itself as a user record does (``codec``), but names no model: it outlives them.

    magic 4 | format 1 | user 32 | changed at 16 | MessagePack | checksum 16

The MessagePack is [item_ids, ratings, weights, marks, posted_at_us, event_times_us]. An empty
history says no more than when the user was forgotten, or posted that there is nothing.

The time of the last change stands before it in decimal digits, microseconds since 1970, so that a
script in Redis can read it: it tells a history that arrives late. The checksum at the end is also
the stamp by which a writer tells whether the history is still the one that it read: equal stamps,
equal histories.
"""

import math
import struct
from itertools import pairwise
from typing import Annotated, Final, TypeAlias, final

import msgspec

from service.errors import RecordRefusedError
from service.histories import MAX_WEIGHT, MIN_WEIGHT
from service.latents import codec
from service.latents.kept_history import MARK_BYTES, KeptHistory
from service.recommendation import PostedHistory

MAGIC: Final = b"FLDH"
FORMAT_VERSION: Final = 2
HEADER: Final = struct.Struct("<4sB32s16s")
# Until the year 2286.
TIME_DIGITS: Final = 16
CHANGED_AT: Final = slice(HEADER.size - TIME_DIGITS, HEADER.size)
STAMP_BYTES: Final = codec.CHECKSUM_BYTES


_Time: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=10**TIME_DIGITS)]


@final
class _Columns(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    item_ids: tuple[str, ...]
    ratings: tuple[float | None, ...] | None
    weights: tuple[float, ...] | None
    marks: bytes
    posted_at_us: _Time
    event_times_us: tuple[_Time, ...]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Columns)


def encode(history: KeptHistory, user_id: str) -> bytes:
    """Write a history down: some 10 bytes an entry, 16 more with event ids, 9 more while it is new.

    Raises:
        RecordRefusedError: It is larger than a value may be, or an id is no text that UTF-8 has.
    """
    entries = history.entries
    columns = _Columns(
        entries.item_ids,
        entries.ratings,
        entries.weights,
        b"".join(history.marks),
        history.posted_at_us,
        history.event_times_us,
    )
    try:
        body = _ENCODER.encode(columns)
    except UnicodeEncodeError as error:
        raise RecordRefusedError("content", "an item id is no text that UTF-8 has") from error
    changed_at = b"%0*d" % (TIME_DIGITS, history.changed_at_us)
    content = HEADER.pack(MAGIC, FORMAT_VERSION, codec.fingerprint(user_id), changed_at) + body
    if len(content) + STAMP_BYTES > codec.MAX_VALUE_BYTES:
        raise RecordRefusedError("content", "the history is larger than a value may be")
    return content + codec.checksum(content)


def decode(value: bytes, user_id: str) -> KeptHistory:
    """Read the history of this user.

    Raises:
        RecordRefusedError: The value is damaged, or another format's or user's.
    """
    if not HEADER.size + STAMP_BYTES <= len(value) <= codec.MAX_VALUE_BYTES:
        raise RecordRefusedError("damaged", "a kept value is too short or too long for a history")
    content = value[:-STAMP_BYTES]
    if codec.checksum(content) != stamp(value):
        raise RecordRefusedError("damaged", "a kept history is damaged")
    magic, version, user, _ = HEADER.unpack_from(content)
    if (magic, version) != (MAGIC, FORMAT_VERSION):
        raise RecordRefusedError("format", "a kept history has another format")
    if user != codec.fingerprint(user_id):
        raise RecordRefusedError("user", "a kept history is another user's")
    try:
        columns = _DECODER.decode(content[HEADER.size :])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RecordRefusedError("content", "a kept history is none") from error
    history = _checked(columns)
    if history.changed_at_us != changed_at_us(value):
        raise RecordRefusedError("content", "a kept history says two times of its last change")
    return history


def stamp(value: bytes) -> bytes:
    """Give the end of a value, which is of one history of one user alone."""
    return value[-STAMP_BYTES:]


def changed_at_us(value: bytes) -> int:
    """Give the time of the last change, unproven; 0 where there is none."""
    digits = value[CHANGED_AT]
    return int(digits) if digits.isdigit() else 0


def _checked(columns: _Columns) -> KeptHistory:
    count = len(columns.item_ids)
    lengths = {len(column) for column in (columns.ratings, columns.weights) if column is not None}
    ratings = [rating for rating in columns.ratings or () if rating is not None]
    if not (
        lengths <= {count}
        and len(columns.marks) in {0, count * MARK_BYTES}
        and len(columns.event_times_us) <= count
        and all(one < next_ for one, next_ in pairwise(columns.event_times_us))
        and all(map(math.isfinite, ratings))
        and all(MIN_WEIGHT <= weight <= MAX_WEIGHT for weight in columns.weights or ())
    ):
        raise RecordRefusedError("content", "a kept history has entries that nobody could post")
    starts = range(0, len(columns.marks), MARK_BYTES)
    return KeptHistory(
        PostedHistory(columns.item_ids, columns.ratings, columns.weights),
        tuple(columns.marks[start : start + MARK_BYTES] for start in starts),
        columns.posted_at_us,
        columns.event_times_us,
    )
