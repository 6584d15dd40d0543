import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.errors import LatentStoreError
from service.latents import codec
from service.latents.store import UserRecord

DIGEST = "a1" * 32
OTHER_DIGEST = "b2" * 32
LATENT_AT = codec.HEADER.size


def indices(values: set[int]) -> NDArray[np.int64]:
    return np.array(sorted(values), dtype=np.int64)


item_indices = st.sets(st.integers(0, 2**31 - 1), max_size=20).map(indices)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
latents = arrays(np.float32, st.integers(0, 20), elements=finite)
user_ids = st.text(st.characters(codec=None), max_size=30)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
records = st.builds(UserRecord, user_ids, digests, latents, item_indices, item_indices)

RECORD = UserRecord(
    "anna", DIGEST, np.array([0.5, -2.0, 3.0], np.float32), indices({1, 7}), indices({2, 5, 9})
)
VALUE = codec.encode(RECORD)


def sealed(content: bytes) -> bytes:
    """Give content the checksum that belongs to it, as a forger would."""
    return content + hashlib.blake2b(content, digest_size=16).digest()


def forged(at: int, replacement: bytes) -> bytes:
    content = VALUE[:-16]
    return sealed(content[:at] + replacement + content[at + len(replacement) :])


def assert_same(one: UserRecord, other: UserRecord) -> None:
    assert (one.user_id, one.model_digest) == (other.user_id, other.model_digest)
    for name in "latent_D", "liked_N", "disliked_N":
        one_array, other_array = getattr(one, name), getattr(other, name)
        assert one_array.dtype == other_array.dtype
        np.testing.assert_array_equal(one_array, other_array)


@given(records)
def test_a_record_comes_back_as_it_was(record: UserRecord) -> None:
    value = codec.encode(record)
    assert_same(codec.decode(value, record.user_id, record.model_digest), record)


@given(records)
def test_a_value_is_as_compact_as_documented(record: UserRecord) -> None:
    numbers = len(record.latent_D) + len(record.liked_N) + len(record.disliked_N)
    assert len(codec.encode(record)) == 129 + 4 * numbers


@given(st.binary(max_size=400))
@example(b"")
@example(sealed(b""))
@example(sealed(bytes(codec.HEADER.size)))
def test_random_bytes_are_refused(value: bytes) -> None:
    with pytest.raises(LatentStoreError):
        codec.decode(value, "anna", DIGEST)


@given(st.integers(0, 8 * len(VALUE) - 1))
def test_a_flipped_bit_is_refused(bit: int) -> None:
    damaged = bytearray(VALUE)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LatentStoreError, match="damaged"):
        codec.decode(bytes(damaged), "anna", DIGEST)


@given(st.integers(0, len(VALUE) - 1))
def test_a_truncated_value_is_refused(length: int) -> None:
    with pytest.raises(LatentStoreError):
        codec.decode(VALUE[:length], "anna", DIGEST)


@given(st.binary(min_size=codec.HEADER.size, max_size=400))
def test_forged_bytes_give_a_named_error(content: bytes) -> None:
    identity = VALUE[: struct.calcsize("<4sB32s32s")]
    value = sealed(identity + content[len(identity) :])
    with pytest.raises(LatentStoreError):
        codec.decode(value, "anna", DIGEST)


@given(user_ids, user_ids)
def test_a_value_is_only_its_own_users(owner: str, reader: str) -> None:
    value = codec.encode(replace(RECORD, user_id=owner))
    if reader == owner:
        assert codec.decode(value, reader, DIGEST).user_id == owner
    else:
        with pytest.raises(LatentStoreError, match="another user"):
            codec.decode(value, reader, DIGEST)


def test_a_value_is_only_its_own_models() -> None:
    with pytest.raises(LatentStoreError, match="another model"):
        codec.decode(VALUE, "anna", OTHER_DIGEST)


def test_a_value_of_another_format_is_refused() -> None:
    for value in forged(0, b"JSON"), forged(4, b"\x02"):
        with pytest.raises(LatentStoreError, match="another format"):
            codec.decode(value, "anna", DIGEST)


def test_a_history_that_was_exchanged_is_refused() -> None:
    value = forged(LATENT_AT + 3 * 4, struct.pack("<i", 0))
    with pytest.raises(LatentStoreError, match="another history"):
        codec.decode(value, "anna", DIGEST)


def test_an_entry_cannot_change_sides() -> None:
    value = forged(LATENT_AT - 8, struct.pack("<II", 3, 2))
    with pytest.raises(LatentStoreError, match="another history"):
        codec.decode(value, "anna", DIGEST)


@pytest.mark.parametrize("counts", [(4, 2, 3), (0, 0, 0), (2**32 - 1,) * 3])
def test_counts_that_do_not_fit_the_length_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(LatentStoreError, match="not as long as it says"):
        codec.decode(forged(LATENT_AT - 12, struct.pack("<III", *counts)), "anna", DIGEST)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_latent_that_is_not_finite_is_refused_both_ways(number: float) -> None:
    with pytest.raises(LatentStoreError, match="not finite"):
        codec.decode(forged(LATENT_AT, struct.pack("<f", number)), "anna", DIGEST)
    with pytest.raises(LatentStoreError, match="not finite"):
        codec.encode(replace(RECORD, latent_D=np.array([0, number], np.float32)))


@pytest.mark.parametrize("bad", [[-1, 2], [2, 1], [3, 3], [0, 2**31]])
def test_indices_out_of_order_or_range_are_not_written(bad: list[int]) -> None:
    bad_N = np.array(bad, dtype=np.int64)
    for record in replace(RECORD, liked_N=bad_N), replace(RECORD, disliked_N=bad_N):
        with pytest.raises(LatentStoreError, match="sorted and unique"):
            codec.encode(record)


def test_indices_out_of_order_are_not_read() -> None:
    swapped = struct.pack("<ii", 7, 1)
    history = hashlib.sha256(struct.pack("<I", 8) + swapped + VALUE[LATENT_AT + 20 : -16]).digest()
    content = VALUE[: LATENT_AT - 44] + history + VALUE[LATENT_AT - 12 : -16]
    content = content[: LATENT_AT + 12] + swapped + content[LATENT_AT + 20 :]
    with pytest.raises(LatentStoreError, match="sorted and unique"):
        codec.decode(sealed(content), "anna", DIGEST)


def test_a_value_beyond_the_limit_is_neither_written_nor_read() -> None:
    endless = replace(RECORD, liked_N=np.arange(codec.MAX_VALUE_BYTES // 4))
    with pytest.raises(LatentStoreError, match="larger"):
        codec.encode(endless)
    with pytest.raises(LatentStoreError, match="too long"):
        codec.decode(bytes(codec.MAX_VALUE_BYTES + 1), "anna", DIGEST)


@pytest.mark.parametrize("digest", ["", "a1" * 31, "zz" * 32])
def test_a_model_digest_that_is_none_is_a_bug_of_the_caller(digest: str) -> None:
    with pytest.raises(ValueError, match="hex"):
        codec.encode(replace(RECORD, model_digest=digest))
    with pytest.raises(ValueError, match="hex"):
        codec.decode(VALUE, "anna", digest)


@given(user_ids, user_ids)
def test_a_key_is_one_users_and_hides_the_id(one: str, other: str) -> None:
    key = codec.key(one)
    assert key.startswith("foldin:v2:u:")
    assert len(key) == len("foldin:v2:u:") + 64
    assert (key == codec.key(other)) == (one == other)


def test_a_field_is_one_models() -> None:
    assert codec.field(DIGEST) == "a1a1a1a1a1a1a1a1"
    assert codec.field(DIGEST) != codec.field(OTHER_DIGEST)
