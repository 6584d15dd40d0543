"""What the client sends and gets back, for type checkers and editors.

What each field means stands in the documentation of the service, ``/docs``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, final

Categories: TypeAlias = Mapping[Literal["any", "all", "none"], Sequence[str]]


class Entry(TypedDict):
    """One entry of a history."""

    item_id: str
    rating: NotRequired[float]
    weight: NotRequired[float]


class Event(Entry):
    """One entry that is added to what is kept of a user."""

    event_id: NotRequired[str]


class EventOptions(TypedDict, total=False):
    """How events should be taken."""

    on_unknown: Literal["ignore", "error"]
    model: str


class ItemOptions(TypedDict, total=False):
    """Which items should be shown."""

    limit: int
    model: str


class MapOptions(ItemOptions, total=False):
    """What a map should show."""

    items: Sequence[str]


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


class NamedItem(TypedDict):
    """One item by name."""

    item_id: str
    title: NotRequired[str]


class Cause(NamedItem):
    """An entry of the history that raised an item."""

    lift: float


class SimilarItem(NamedItem):
    """One item that is like another."""

    score: float


class Item(SimilarItem):
    """One item of a list."""

    because: NotRequired[list[Cause]]


class Model(TypedDict):
    """A model, and which state of it."""

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

    items: list[SimilarItem]
    measure: Literal["cosine", "weight"]
    model: Model


class KeptUser(TypedDict):
    """What is kept of a user after events came."""

    count: int
    unknown_items: list[str]
    cache: Literal["hit", "miss", "bypass", "error"]
    model: Model


class CatalogItem(TypedDict):
    """One item of the catalogue."""

    item_id: str
    title: str
    categories: list[str]
    popularity: int


class MappedItem(NamedItem):
    """One item on a map."""

    x: float
    y: float


class ItemMap(TypedDict):
    """Items in two dimensions."""

    items: list[MappedItem]
    shares: list[float]
    unknown_items: list[str]
    model: Model


class Side(TypedDict):
    """What rises on the way to one side of a dimension."""

    items: list[NamedItem]
    categories: list[str]


class Dimension(TypedDict):
    """One dimension of a latent."""

    dimension: int
    effect: float
    above: Side
    below: Side


class ModelCard(TypedDict):
    """One model that is served."""

    name: str
    version: str
    digest: str
    architecture: str
    retrieval: str
    retrieval_recall: float
    num_items: int
    positive_threshold: float | None
    metrics: dict[str, Any]
    created_at: str
    controls: list[str]
    split_share: float | None
    is_shadow: bool
    previous_version: str | None
    workers: dict[str, int]


class Exchange(TypedDict):
    """Who answers after a reload or a rollback."""

    outcome: Literal["swapped", "unchanged", "rolled_back"]
    model: Model
    previous_version: str | None


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
