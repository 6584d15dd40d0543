"""The body of POST /recommend, from bytes to a question: fast where nothing is wrong with it.

Microseconds to parse and check 100 entries on one core of an AVX2 machine:

    entries               msgspec    orjson.loads, unchecked    pydantic
    ids as text               1.9                        1.7          12
    ids as integers           2.0                        1.4          22
    objects with ratings      6.3                         13         131

msgspec checks types, ranges and field names while it parses. Whatever it refuses goes to pydantic,
which says what is wrong and where, or takes it after all; so nothing that msgspec takes may mean
anything else to pydantic, and a test holds the two together.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeAlias, TypeGuard, final

import msgspec

from service.api.schemas import (
    DIMENSION,
    MAX_CATEGORIES,
    MAX_CATEGORY_LENGTH,
    MAX_CONTROL,
    MAX_DISLIKES,
    MAX_STEERED,
    MAX_USER_ID_LENGTH,
    NO_CONTROL_CHARACTERS,
    RecommendRequest,
)
from service.api.validation import from_json
from service.histories import MAX_WEIGHT, MIN_WEIGHT
from service.recommendation import (
    EVERY_CATEGORY,
    NO_CONTROLS,
    CategoryFilter,
    Controls,
    PostedHistory,
    Query,
    Steering,
    steering,
)

MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1
NOTHING_ASKED: Final[tuple[object, ...]] = ([], 0.0, 0.0, 0.0, 0.0, None, {})


class _NotPlainError(Exception):
    """The body is wrong, or right in a way that is left to pydantic."""


@final
class _Entry(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What ``HistoryObject`` is."""

    item_id: str | int
    rating: float | None = None
    weight: Annotated[float, msgspec.Meta(ge=MIN_WEIGHT, le=MAX_WEIGHT)] = 1.0


_UserId: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=MAX_USER_ID_LENGTH,
        pattern=rf"^{NO_CONTROL_CHARACTERS}\Z",  # where Python's $ would let a last line break be
    ),
]


_CategoryNames: TypeAlias = Annotated[
    list[Annotated[str, msgspec.Meta(max_length=MAX_CATEGORY_LENGTH)]],
    msgspec.Meta(max_length=MAX_CATEGORIES),
]


_Offset: TypeAlias = Annotated[float, msgspec.Meta(ge=-MAX_CONTROL, le=MAX_CONTROL)]


@final
class _Categories(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What ``CategoryChoice`` is."""

    any: _CategoryNames = []
    all: _CategoryNames = []
    none: _CategoryNames = []


@final
class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What ``RecommendRequest`` is."""

    history: list[str | int | _Entry] | None = None
    user_id: _UserId | int | None = None
    k: Annotated[int, msgspec.Meta(ge=1)] = 20
    exclude_items: list[str | int] = []
    candidate_items: list[str | int] | None = None
    categories: _Categories | None = None
    exclude_seen: bool = True
    on_unknown: Literal["ignore", "error"] = "ignore"
    dislikes: Annotated[list[str | int], msgspec.Meta(max_length=MAX_DISLIKES)] = []
    diversity: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    popularity_penalty: Annotated[float, msgspec.Meta(ge=0, le=MAX_CONTROL)] = 0.0
    calibration: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    exploration: Annotated[float, msgspec.Meta(ge=0, le=MAX_CONTROL)] = 0.0
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] | None = None
    steer: Annotated[dict[str, _Offset], msgspec.Meta(max_length=MAX_STEERED)] = {}
    explain: bool = False
    fallback: bool = True
    model: Annotated[str, msgspec.Meta(max_length=128)] | None = None


_DECODER: Final = msgspec.json.Decoder(_Body)


def query_from_json(body: bytes, max_history: int) -> Query:
    """Read the body of a request for one list.

    Args:
        body: As it was received.
        max_history: Entries that a history may have.

    Raises:
        MalformedBodyError: It is not JSON.
        InvalidFieldsError: Names each wrong field.
        HistoryTooLongError: It has more entries.
    """
    query = plain_query(body, max_history)
    if query is not None:
        return query
    return from_json(RecommendRequest, body).to_query(max_history)


def plain_query(body: bytes, max_history: int) -> Query | None:
    """Read a body in one pass; None where pydantic must have a look: it may take it all the same.

    Args:
        body: As it was received.
        max_history: Entries that a history may have.
    """
    try:
        return _query(_DECODER.decode(body), max_history)
    except (msgspec.DecodeError, UnicodeDecodeError, _NotPlainError):
        return None


def _query(body: _Body, max_history: int) -> Query:
    if body.history is None:
        if body.user_id is None:
            raise _NotPlainError
        history = None
    elif len(body.history) > max_history:
        raise _NotPlainError
    else:
        history = _posted(body.history)
    return Query(
        history=history,
        user_id=None if body.user_id is None else _texts([body.user_id])[0],
        k=body.k,
        exclude_items=_texts(body.exclude_items),
        candidate_items=None if body.candidate_items is None else _texts(body.candidate_items),
        categories=_categories(body.categories),
        controls=_controls(body),
        explain=body.explain,
        exclude_seen=body.exclude_seen,
        strict=body.on_unknown == "error",
        fallback=body.fallback,
        model=body.model,
    )


def _categories(given: _Categories | None) -> CategoryFilter:
    if given is None:
        return EVERY_CATEGORY
    return CategoryFilter(tuple(given.any), tuple(given.all), tuple(given.none))


def _controls(body: _Body) -> Controls:
    asked = (
        body.dislikes,
        body.diversity,
        body.popularity_penalty,
        body.calibration,
        body.exploration,
        body.seed,
        body.steer,
    )
    if asked == NOTHING_ASKED:
        return NO_CONTROLS
    return Controls(_texts(body.dislikes), *asked[1:-1], _moves(body.steer))


def _moves(steer: dict[str, float]) -> Steering:
    if not all(re.fullmatch(DIMENSION, dimension) for dimension in steer):
        raise _NotPlainError
    return steering((int(dimension), offset) for dimension, offset in steer.items())


def _posted(entries: list[str | int | _Entry]) -> PostedHistory:
    if _are_texts(entries):
        return PostedHistory(tuple(entries))
    rows = [entry if isinstance(entry, _Entry) else _Entry(entry) for entry in entries]
    return PostedHistory.of_columns(
        _texts([row.item_id for row in rows]),
        tuple([row.rating for row in rows]),
        tuple([row.weight for row in rows]),
    )


def _texts(ids: list[str | int]) -> tuple[str, ...]:
    if _are_texts(ids):
        return tuple(ids)
    integers = [item_id for item_id in ids if isinstance(item_id, int)]
    if min(integers) < MIN_INTEGER or max(integers) > MAX_INTEGER:
        raise _NotPlainError  # msgspec itself has no way to say 2**64 - 1
    return tuple(map(str, ids))


def _are_texts(entries: Sequence[object]) -> TypeGuard[list[str]]:
    return set(map(type, entries)) <= {str}
