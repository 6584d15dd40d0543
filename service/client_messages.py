"""What the client sends and gets back, for type checkers and editors.

What each field means stands in the documentation of the service, ``/docs``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, final

Categories: TypeAlias = Mapping[Literal["any", "all", "none"], Sequence[str]]


class Entry(TypedDict):
    """One entry of a history; ``event_id`` where it is added to what is kept."""

    item_id: str
    rating: NotRequired[float]
    weight: NotRequired[float]
    event_id: NotRequired[str]


class SimilarOptions(TypedDict, total=False):
    """How a list of similar items should be."""

    k: int
    categories: Categories
    model: str


class Options(SimilarOptions, total=False):
    """How a list should be."""

    exclude_items: Sequence[str]
    candidate_items: Sequence[str]
    exclude_seen: bool
    on_unknown: Literal["ignore", "error"]
    dislikes: Sequence[str]
    diversity: float
    popularity_penalty: float
    calibration: float
    exploration: float
    seed: int
    steer: Mapping[str, float]
    explain: bool
    fallback: bool


class Row(Options, total=False):
    """A request for one list: a history, a user, or both."""

    history: Sequence[str | Entry]
    user_id: str


class Item(TypedDict):
    """One item of a list."""

    item_id: str
    score: float
    title: NotRequired[str]
    because: NotRequired[list[dict[str, Any]]]


class Model(TypedDict):
    """Who answered."""

    name: str
    version: str


class Recommendation(TypedDict):
    """One list, and how it came about."""

    items: list[Item]
    source: Literal["model", "popularity"]
    reason: NotRequired[str]
    variant: NotRequired[str]
    unknown_items: list[str]
    cache: Literal["hit", "miss", "bypass", "error"]
    model: Model
    recommendation_id: str


class SimilarItems(TypedDict):
    """What is like an item."""

    items: list[Item]
    measure: Literal["cosine", "weight"]
    model: Model


class KeptUser(TypedDict):
    """What is kept of a user after events came."""

    count: int
    unknown_items: list[str]
    cache: str
    model: Model


class CatalogItem(TypedDict):
    """One item of the catalogue."""

    item_id: str
    title: str
    categories: list[str]
    popularity: int


@final
class ServiceError(Exception):
    """Why there is no answer, in the words of the service (RFC 9457).

    Attributes:
        problem: All that it says.
        status: Of HTTP; of a row, the one that it would have had alone.
        type: Names the kind of problem, and never changes.
        detail: What is wrong this time.
        request_id: Finds the request in the log of the service.
        retry_after_s: When to come back, where the service says so.
    """

    def __init__(self, problem: Mapping[str, Any], retry_after_s: int | None = None) -> None:
        super().__init__(f"{problem['title']}: {problem.get('detail', 'no detail is given')}")
        self.problem = dict(problem)
        self.status = int(problem["status"])
        self.type = str(problem["type"])
        self.detail = str(problem.get("detail", ""))
        self.request_id = str(problem.get("request_id", ""))
        self.retry_after_s = retry_after_s
