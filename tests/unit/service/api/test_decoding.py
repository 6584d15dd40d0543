"""What the fast way takes means the same to pydantic, and what pydantic takes, both ways."""

import string

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.api.decoding import _Body, _Categories, _Entry, plain_query, query_from_json
from service.api.schemas import CategoryChoice, HistoryObject, RecommendRequest
from service.api.validation import from_json
from service.errors import HistoryTooLongError, InvalidRequestError
from service.recommendation import Query

MAX_HISTORY = 6

# Values as JSON text, so that what no serializer writes is tried too.
TEXTS = [
    '"i1"', '""', '"\\ud83d\\ude00"', '"\\ud800"', '"\\ud800\\u0041"', '"\\udc00\\ud800"',
    '"\\ud800\\ud800"', '"\\ud800\\n"', '"\\u0000"', '"\\x"', '"a\x01"', '"a\x00"', '"\x7f"',
    '"\u2028"', '"5"', '"0"', '"07"', '"99999"', '"100000"', '"\u0663"', '"1\\n"',
    '"ignore"', '"error"', '"warn"', '"i\\u0031"', "'i1'", '"open',
    *(f'"{letters}"' for letters in ("u" * 256, "u" * 257, "ä" * 128, "ä" * 129)),
]  # fmt: skip
NUMBERS = [
    "0", "-0", "1", "-1", "20", "5.0", "1.", ".5", "+1", "01", "-", "1e2", "1E-2", "1e999",
    "-1e999", "1e-999", "NaN", "Infinity", "-Infinity", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615",
    "18446744073709551616", "9" * 25, "9" * 309, "9" * 400, "9" * 5000, "0.1", "0.000001",
    "0.0000009", "1000000", "1000000.0000001", "9007199254740993", "0." + "3" * 800,
    "2.2250738585072011e-308",
]  # fmt: skip
OTHERS = ["null", "true", "false", "{}", "[]", "[[]]", "", "undefined", "{", "["]
SCALARS = [*TEXTS, *NUMBERS, *OTHERS]
# Where a value can stand in a body that is right otherwise.
PLACES = (
    '{"history":%s}',
    '{"history":["i1",%s]}',
    '{"history":[{"item_id":%s}]}',
    '{"history":[{"item_id":"i1","rating":%s}]}',
    '{"history":[{"item_id":"i1","weight":%s}]}',
    '{"user_id":%s}',
    '{"user_id":"u","k":%s}',
    '{"user_id":"u","exclude_items":%s}',
    '{"user_id":"u","exclude_items":["i1",%s]}',
    '{"user_id":"u","candidate_items":%s}',
    '{"user_id":"u","candidate_items":["i1",%s]}',
    '{"user_id":"u","categories":%s}',
    '{"user_id":"u","categories":{"any":%s}}',
    '{"user_id":"u","categories":{"none":[%s],"all":["i1"]}}',
    '{"user_id":"u","exclude_seen":%s}',
    '{"user_id":"u","on_unknown":%s}',
    '{"user_id":"u","fallback":%s}',
    '{"user_id":"u","dislikes":%s}',
    '{"user_id":"u","dislikes":["i1",%s]}',
    '{"user_id":"u","diversity":%s}',
    '{"user_id":"u","popularity_penalty":%s}',
    '{"user_id":"u","calibration":%s}',
    '{"user_id":"u","exploration":%s}',
    '{"user_id":"u","seed":%s}',
    '{"user_id":"u","steer":%s}',
    '{"user_id":"u","steer":{"3":%s}}',
    '{"user_id":"u","steer":{"3":1,%s:-2}}',
    '{"user_id":"u","steer":{"3":1,"03":-2,"3":%s}}',
    '{"user_id":"u","explain":%s}',
    '{"user_id":"u","model":%s}',
    '{"user_id":"u","else":%s}',
    '{"user_id":"u",%s:1}',
    "%s",
)

texts = st.sampled_from(TEXTS)
numbers = st.sampled_from(NUMBERS)
scalars = st.sampled_from(SCALARS)
ids = st.sampled_from(['"i1"', '"i2"', "7", "-7"]) | scalars
spaces = st.sampled_from(["", "", "", " ", "\n\t\r ", "\x0b", "\xa0", "\ufeff"])


def objects(fields: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """Objects with some of the fields, in any order, also twice, and sometimes a strange one."""
    pairs = [st.tuples(st.just(name), value) for name, value in fields.items()]
    strange = st.tuples(st.sampled_from(["else", "K", "\\u006b", "k ", ""]), scalars)
    pair = st.one_of(*pairs, *pairs, strange).map(lambda pair: f'"{pair[0]}":{pair[1]}')
    return st.lists(pair, max_size=4).map(lambda texts: "{" + ",".join(texts) + "}")


def lists(entries: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(entries, max_size=MAX_HISTORY + 2).map(
        lambda texts: "[" + ",".join(texts) + "]"
    )


weighed = objects({"item_id": ids, "rating": numbers | scalars, "weight": numbers})
good_entry = st.sampled_from(
    ['"i1"', '"i2"', "3", '{"item_id":"i1"}', '{"item_id":4,"rating":null,"weight":2}',
     '{"rating":4.5,"item_id":"i5"}', '{"item_id":"i6","weight":1.0}'],
)  # fmt: skip
histories = lists(good_entry) | lists(ids) | lists(ids | weighed) | lists(st.just('"i1"')) | scalars
flags = st.sampled_from(["true", "false"]) | scalars
bodies = objects(
    {
        "history": histories,
        "user_id": ids,
        "k": numbers | scalars,
        "exclude_items": lists(ids) | scalars,
        "candidate_items": lists(ids) | scalars,
        "categories": objects({"any": lists(texts), "all": lists(texts), "none": scalars}),
        "exclude_seen": flags,
        "on_unknown": texts,
        "fallback": flags,
        "dislikes": lists(ids),
        "diversity": numbers,
        "seed": numbers,
        "steer": objects({"0": numbers, "12": numbers, "100000": numbers, "-1": numbers}),
        "explain": flags,
        "model": scalars,
    }
) | histories.map('{{"history":{}}}'.format)


def by_pydantic(body: bytes) -> Query | InvalidRequestError:
    try:
        return from_json(RecommendRequest, body).to_query(MAX_HISTORY)
    except InvalidRequestError as error:
        return error


@settings(max_examples=1500)
@given(bodies, spaces, spaces)
@example('{"history":["\\ud800abcdefgh"]}', "", "")
@example('{"history":[18446744073709551615]}', "", "")
@example('{"k":1,"k":2,"history":[],"history":["i1"]}', "", "")
@example('{"history":null,"user_id":null}', "", "")
def test_both_ways_mean_the_same(body: str, before: str, after: str) -> None:
    assert_both_ways_mean_the_same(f"{before}{body}{after}".encode())


@pytest.mark.parametrize("place", PLACES)
def test_both_ways_mean_the_same_by_every_value_in_every_place(place: str) -> None:
    for value in SCALARS:
        assert_both_ways_mean_the_same((place % value).encode())


def assert_both_ways_mean_the_same(content: bytes) -> None:
    expected = by_pydantic(content)
    fast = plain_query(content, MAX_HISTORY)
    if isinstance(expected, Query):
        assert fast in (None, expected)
        assert query_from_json(content, MAX_HISTORY) == expected
        return
    assert fast is None
    with pytest.raises(type(expected)) as refusal:
        query_from_json(content, MAX_HISTORY)
    assert str(refusal.value) == str(expected)


@given(st.binary(max_size=40) | st.text(string.printable, max_size=40).map(str.encode))
def test_no_bytes_mean_anything_to_the_fast_way_alone(content: bytes) -> None:
    for body in (content, b'{"history":["%b"]}' % content, b'{"history":[%b],"k":1}' % content):
        fast = plain_query(body, MAX_HISTORY)
        assert fast is None or fast == by_pydantic(body)


@pytest.mark.parametrize(
    "request_",
    [
        {"history": ["i1", "i2"]},
        {"history": [1, 2**64 - 1, "i2", -(2**63)], "k": 5, "user_id": 17},
        {"history": [{"item_id": "i1", "rating": 5}, {"item_id": 2, "weight": 0.5}, "i3"]},
        {"history": [], "exclude_items": [1, "i2"], "exclude_seen": False, "fallback": False},
        {"user_id": "u", "on_unknown": "error", "model": "films"},
        {"history": ["i1"], "dislikes": [2], "diversity": 1, "exploration": 0.5, "seed": 7},
        {"history": ["i1"], "steer": {"0": 1.5, "17": -2}},
        {"history": ["i1"], "candidate_items": ["i2", 3], "categories": {"any": ["a"], "none": []}},
    ],
)
def test_what_callers_post_every_day_takes_the_fast_way(request_: dict[str, object]) -> None:
    body = orjson.dumps(request_)
    assert plain_query(body, MAX_HISTORY) == by_pydantic(body)


def test_a_history_above_the_limit_is_refused_as_ever() -> None:
    body = orjson.dumps({"history": ["i1"] * (MAX_HISTORY + 1)})
    with pytest.raises(HistoryTooLongError):
        query_from_json(body, MAX_HISTORY)


def test_the_fast_way_knows_the_same_fields_and_defaults() -> None:
    pairs = (
        (_Body, RecommendRequest),
        (_Entry, HistoryObject),
        (_Categories, CategoryChoice),
    )
    for fast, model in pairs:
        assert set(fast.__struct_fields__) == set(model.model_fields)
    entry, documented = _Entry("i1"), HistoryObject(item_id="i1")
    assert (entry.rating, entry.weight) == (documented.rating, documented.weight)
    assert plain_query(b'{"user_id":"u"}', 1) == by_pydantic(b'{"user_id":"u"}')
