"""The bytes of a user record: whose they are, of which model, and whether they are whole.

A value proves itself: it names its format, its model, its user and its history, and ends in a
checksum. The checksum finds accidents. It is no signature: who may write to the store may also
forge a value, so the numbers are checked all the same, and nothing in a value is executed.

    magic 4 | format 1 | model 32 | user 32 | history 32 | D 4 | liked 4 | disliked 4
    latent_D float32 | liked_N int32 | disliked_N int32 | checksum 16        (little-endian)
"""

import hashlib
import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.errors import RecordRefusedError
from service.latents.store import UserRecord

# Of all that is kept of a user. In the second one histories carry times.
LAYOUT_VERSION: Final = 2
MAGIC: Final = b"FLDN"
FORMAT_VERSION: Final = 1
HEADER: Final = struct.Struct("<4sB32s32s32sIII")
CHECKSUM_BYTES: Final = 16
# A million history entries take 4 MB. Beyond this a value is not even hashed: that alone would
# hold the event loop for 10 ms.
MAX_VALUE_BYTES: Final = 8 * 2**20


def key(user_id: str) -> str:
    """Name all that is kept of a user; the customer's id does not stand in it."""
    return f"foldin:v{LAYOUT_VERSION}:u:{fingerprint(user_id).hex()}"


def field(model_digest: str) -> str:
    """Name, within what is kept of a user, the value of a model: a new one never meets old ones."""
    return model_digest[:16]


def encode(record: UserRecord) -> bytes:
    """Write a record down: 129 bytes, and 4 more for each latent dimension and history entry.

    Raises:
        RecordRefusedError: The record could not be read back: a latent that is not finite, indices
            that are not sorted and unique, or more of them than a value holds.
        ValueError: ``model_digest`` is not made of 64 hex digits.
    """
    _check(record.latent_D, record.liked_N, record.disliked_N)
    latent = record.latent_D.astype("<f4").tobytes()
    liked = record.liked_N.astype("<i4").tobytes()
    disliked = record.disliked_N.astype("<i4").tobytes()
    header = HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        _digest_bytes(record.model_digest),
        fingerprint(record.user_id),
        _history_fingerprint(liked, disliked),
        len(record.latent_D),
        len(record.liked_N),
        len(record.disliked_N),
    )
    content = b"".join((header, latent, liked, disliked))
    if len(content) + CHECKSUM_BYTES > MAX_VALUE_BYTES:
        raise RecordRefusedError("content", "the record is larger than a value may be")
    return content + checksum(content)


def decode(value: bytes, user_id: str, model_digest: str) -> UserRecord:
    """Read the record of this user under this model.

    Returns:
        The record; its ``latent_D`` is a read-only view of ``value``.

    Raises:
        RecordRefusedError: The value is damaged, or another format's, model's or user's.
        ValueError: ``model_digest`` is not made of 64 hex digits.
    """
    if not HEADER.size + CHECKSUM_BYTES <= len(value) <= MAX_VALUE_BYTES:
        raise RecordRefusedError("damaged", "a kept value is too short or too long to be a record")
    content = value[:-CHECKSUM_BYTES]
    if checksum(content) != value[-CHECKSUM_BYTES:]:
        raise RecordRefusedError("damaged", "a kept value is damaged")
    magic, version, model, user, history, *counts = HEADER.unpack_from(content)
    if (magic, version) != (MAGIC, FORMAT_VERSION):
        raise RecordRefusedError("format", "a kept value has another format")
    if model != _digest_bytes(model_digest):
        raise RecordRefusedError("model", "a kept value is another model's")
    if user != fingerprint(user_id):
        raise RecordRefusedError("user", "a kept value is another user's")
    if len(content) != HEADER.size + 4 * sum(counts):
        raise RecordRefusedError("damaged", "a kept value is not as long as it says")
    liked_at = HEADER.size + 4 * counts[0]
    disliked_at = liked_at + 4 * counts[1]
    if history != _history_fingerprint(content[liked_at:disliked_at], content[disliked_at:]):
        raise RecordRefusedError("history", "a kept value has another history than it says")
    latent_D = np.frombuffer(content, "<f4", counts[0], HEADER.size)
    liked_N = np.frombuffer(content, "<i4", counts[1], liked_at).astype(np.int64)
    disliked_N = np.frombuffer(content, "<i4", counts[2], disliked_at).astype(np.int64)
    _check(latent_D, liked_N, disliked_N)
    return UserRecord(user_id, model_digest, latent_D, liked_N, disliked_N)


def _check(
    latent_D: NDArray[np.float32], liked_N: NDArray[np.int64], disliked_N: NDArray[np.int64]
) -> None:
    if not np.isfinite(latent_D).all():
        raise RecordRefusedError("content", "the latent of a record is not finite")
    for indices_N in liked_N, disliked_N:
        if len(indices_N) and not (
            indices_N[0] >= 0
            and indices_N[-1] < 2**31
            and bool((indices_N[1:] > indices_N[:-1]).all())
        ):
            raise RecordRefusedError(
                "content", "the item indices of a record are not sorted and unique"
            )


def _digest_bytes(model_digest: str) -> bytes:
    digest = bytes.fromhex(model_digest)
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError("a model digest has 64 hex digits")
    return digest


def fingerprint(user_id: str) -> bytes:
    """Give the 32 bytes that stand for a user in keys and values."""
    # JSON may carry half of a surrogate pair, which plain UTF-8 refuses.
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()


def _history_fingerprint(liked: bytes, disliked: bytes) -> bytes:
    # The length first, so that no entry can change sides unnoticed.
    return hashlib.sha256(struct.pack("<I", len(liked)) + liked + disliked).digest()


def checksum(content: bytes) -> bytes:
    """Give the 16 bytes that end a value with this content."""
    return hashlib.blake2b(content, digest_size=CHECKSUM_BYTES).digest()
