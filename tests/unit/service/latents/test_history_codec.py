import hashlib

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import RecordRefusedError
from service.latents import codec, history_codec
from service.latents.kept_history import Event, KeptHistory, nothing_since
from service.recommendation import PostedHistory

user_ids = st.text(st.characters(codec=None), max_size=30)
events = st.builds(
    Event,
    st.text(max_size=20),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.floats(1e-6, 1e6),
    st.none() | st.text(st.characters(codec=None), min_size=1),
)
times_us = st.integers(0, 10**15)
histories = st.builds(
    lambda posted_at_us, sent, now_us: nothing_since(posted_at_us).with_events(sent, 100, now_us),
    times_us,
    st.lists(events, max_size=20),
    times_us,
)

HISTORY = KeptHistory(PostedHistory(("i1", "i2"), (4.0, None)), (b"a" * 16, b"b" * 16))
VALUE = history_codec.encode(HISTORY, "anna")
BODY_AT = history_codec.HEADER.size


def sealed(content: bytes) -> bytes:
    """Give content the checksum that belongs to it, as a forger would."""
    return content + hashlib.blake2b(content, digest_size=16).digest()


@given(histories, user_ids)
def test_a_history_comes_back_as_it_was_and_is_written_alike(
    history: KeptHistory, user_id: str
) -> None:
    value = history_codec.encode(history, user_id)
    found = history_codec.decode(value, user_id)
    assert found == history
    assert history_codec.encode(found, user_id) == value


@given(histories, histories)
def test_equal_stamps_are_equal_histories(one: KeptHistory, other: KeptHistory) -> None:
    stamps = [history_codec.stamp(history_codec.encode(each, "anna")) for each in (one, other)]
    assert stamps[0] != stamps[1] or one == other


def test_a_plain_history_takes_some_ten_bytes_an_entry() -> None:
    ids = tuple(str(number) for number in range(10_000, 11_000))
    assert len(history_codec.encode(KeptHistory(PostedHistory(ids)), "anna")) < 7_000


@given(st.binary(max_size=200))
@example(b"")
@example(sealed(b""))
@example(sealed(bytes(BODY_AT)))
def test_random_bytes_are_refused(value: bytes) -> None:
    with pytest.raises(RecordRefusedError):
        history_codec.decode(value, "anna")


@given(st.integers(0, 8 * len(VALUE) - 1))
def test_a_flipped_bit_is_refused(bit: int) -> None:
    damaged = bytearray(VALUE)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RecordRefusedError, match="damaged"):
        history_codec.decode(bytes(damaged), "anna")


@given(st.binary(max_size=100))
@example(b"\x91" * 5000)
def test_a_forged_body_gives_a_history_or_a_named_error(body: bytes) -> None:
    try:
        history_codec.decode(sealed(VALUE[:BODY_AT] + body), "anna")
    except RecordRefusedError as error:
        assert error.reason == "content"  # noqa: PT017 - either outcome is right


def test_a_history_is_only_its_own_users() -> None:
    with pytest.raises(RecordRefusedError, match="another user"):
        history_codec.decode(VALUE, "bert")


@given(histories, st.binary(max_size=60))
def test_the_time_of_the_last_change_is_read_without_reading_the_history(
    history: KeptHistory, other: bytes
) -> None:
    value = history_codec.encode(history, "anna")
    assert history_codec.changed_at_us(value) == history.changed_at_us
    assert history_codec.changed_at_us(other) >= 0  # whatever it is


def test_another_format_is_refused() -> None:
    record = VALUE[:-16]
    for content in b"FLDN" + record[4:], record[:4] + b"\x01" + record[5:]:
        with pytest.raises(RecordRefusedError, match="another format"):
            history_codec.decode(sealed(content), "anna")


@pytest.mark.parametrize(
    "columns",
    [
        (["i1"], [1.0, 2.0], None, b"", 0, []),
        (["i1"], None, [], b"", 0, []),
        (["i1"], None, None, b"short", 0, []),
        (["i1"], [float("nan")], None, b"", 0, []),
        (["i1"], [float("inf")], None, b"", 0, []),
        (["i1"], None, [0.0], b"", 0, []),
        (["i1"], None, [float("nan")], b"", 0, []),
        (["i1"], None, [1e300], b"", 0, []),
        ([1], None, None, b"", 0, []),
        (["i1"], None, None, b"", -1, []),
        (["i1"], None, None, b"", 10**16, []),
        (["i1"], None, None, b"", 0, [1, 2]),
        (["i1", "i2"], None, None, b"", 0, [2, 1]),
        (["i1"], None, None, b"", 7, []),  # the header says another time
        (["i1"], None, None, b"", 0),
        {"item_ids": []},
    ],
)
def test_entries_that_nobody_could_post_are_refused(columns: object) -> None:
    body = msgspec.msgpack.encode(columns)
    with pytest.raises(RecordRefusedError, match="kept history"):
        history_codec.decode(sealed(VALUE[:BODY_AT] + body), "anna")


def test_what_utf8_or_a_value_cannot_hold_is_not_written() -> None:
    with pytest.raises(RecordRefusedError, match="UTF-8"):
        history_codec.encode(KeptHistory(PostedHistory(("\ud800",))), "anna")
    endless = KeptHistory(PostedHistory(("x" * codec.MAX_VALUE_BYTES,)))
    with pytest.raises(RecordRefusedError, match="larger"):
        history_codec.encode(endless, "anna")
    with pytest.raises(RecordRefusedError, match="too long"):
        history_codec.decode(bytes(codec.MAX_VALUE_BYTES + 1), "anna")
