"""The question and the answer of the use case, free of HTTP, torch and Redis."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, Self, TypeAlias, final

from service.catalog import Catalog
from service.causes import Causes
from service.retrieval.base import TopK

Source: TypeAlias = Literal["model", "popularity"]
CacheOutcome: TypeAlias = Literal["hit", "miss", "bypass", "error"]
Steering: TypeAlias = tuple[tuple[int, float], ...]
Reason: TypeAlias = Literal["", "empty_history", "no_known_items", "no_liked_items", "unknown_user"]


class Interaction(Protocol):
    """One posted interaction, with what is known about it."""

    @property
    def item_id(self) -> str:
        """The customer's id of the item."""

    @property
    def rating(self) -> float | None:
        """What the user thought of it, where they said."""

    @property
    def weight(self) -> float:
        """How much it says, relative to the others."""


@final
@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One posted interaction."""

    item_id: str
    rating: float | None = None
    weight: float = 1.0


@final
@dataclass(frozen=True, slots=True)
class PostedHistory:
    """A history as it was posted, in its order, column by column.

    Columns, since an object an entry takes longer to make than all the rest of a request.

    Attributes:
        item_ids: One an entry.
        ratings: One an entry, None where it has none; None in all: no entry is rated.
        weights: One an entry; None: each weighs 1.
    """

    item_ids: tuple[str, ...]
    ratings: tuple[float | None, ...] | None = None
    weights: tuple[float, ...] | None = None

    @classmethod
    def of(cls, entries: Sequence[str | Interaction]) -> Self:
        """Turn entries, ids alone or interactions, into columns."""
        rows = [HistoryEntry(entry) if isinstance(entry, str) else entry for entry in entries]
        return cls.of_columns(
            tuple([row.item_id for row in rows]),
            tuple([row.rating for row in rows]),
            tuple([row.weight for row in rows]),
        )

    @classmethod
    def of_columns(
        cls,
        item_ids: tuple[str, ...],
        ratings: tuple[float | None, ...],
        weights: tuple[float, ...],
    ) -> Self:
        """Take columns, and drop those that say nothing: equal histories become equal values."""
        return cls(
            item_ids,
            None if ratings.count(None) == len(ratings) else ratings,
            None if weights.count(1.0) == len(weights) else weights,
        )

    def __len__(self) -> int:
        return len(self.item_ids)


NOTHING_POSTED: Final = PostedHistory(())


@final
@dataclass(frozen=True, slots=True)
class CategoryFilter:
    """Which categories the items of a list may have; empty parts ask for nothing.

    Attributes:
        any: An item has at least one of them.
        all: An item has every one of them.
        none: An item has none of them.
    """

    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    none: tuple[str, ...] = ()


EVERY_CATEGORY: Final = CategoryFilter()


@final
@dataclass(frozen=True, slots=True)
class Controls:
    """What a list should be like, beyond holding the best items.

    Attributes:
        dislikes: Ids of items that may not come back, nor what is like them.
        diversity: 0 to 1; how much an item loses for being like one before it.
        popularity_penalty: At least 0; how much popular items lose.
        calibration: 0 to 1; how much the history's shares of categories count.
        exploration: At least 0; by what a draw from the user's posterior is scaled.
        seed: Of that draw; None: another one each time.
        steer: Dimensions of the latent, and by how much each is moved; none by 0.
    """

    dislikes: tuple[str, ...] = ()
    diversity: float = 0.0
    popularity_penalty: float = 0.0
    calibration: float = 0.0
    exploration: float = 0.0
    seed: int | None = None
    steer: Steering = ()


NO_CONTROLS: Final = Controls()


def steering(pairs: Iterable[tuple[int, float]]) -> Steering:
    """Bring moves of dimensions into their one order, without those that move nothing."""
    return tuple(sorted((dimension, offset) for dimension, offset in pairs if offset))


@final
@dataclass(frozen=True, slots=True)
class Query:
    """One request for a list.

    Attributes:
        history: What was posted; None when the caller relies on what is kept for ``user_id``.
            An empty history is a statement (a new user), not a reason to look one up.
        user_id: Whose latent to use, or to refresh from the posted history.
        k: Items wanted, at least 1.
        exclude_items: Ids that may not come back, besides the seen ones.
        candidate_items: Ids that alone may come back; None: those of the whole catalogue.
        categories: Of the items that may come back.
        exclude_seen: Whether items of the history may not come back.
        strict: Whether an unknown id is an error, not a line in the answer.
        controls: What the list should be like.
        explain: Whether to name the entries of the history that raised each item.
        fallback: Whether a popularity list may stand in for the model.
        model: Name of the model to ask; None for the one that is served by default.
    """

    history: PostedHistory | None
    user_id: str | None
    k: int
    exclude_items: tuple[str, ...] = ()
    candidate_items: tuple[str, ...] | None = None
    categories: CategoryFilter = EVERY_CATEGORY
    exclude_seen: bool = True
    strict: bool = False
    fallback: bool = True
    model: str | None = None
    controls: Controls = NO_CONTROLS
    explain: bool = False

    @property
    def needs_history(self) -> bool:
        """Whether a kept latent alone is not enough to answer it."""
        return bool(self.explain or self.controls.exploration or self.controls.calibration)

    @property
    def is_refined(self) -> bool:
        """Whether it asks for more than the best items."""
        return self.explain or self.controls != NO_CONTROLS


@final
@dataclass(frozen=True, slots=True)
class Recommendation:
    """One list, and how it came about.

    Attributes:
        top: Item indices of ``catalog`` with their scores, best first.
        catalog: The catalogue of the model that answered.
        source: ``model``, or ``popularity`` when the fallback answered.
        reason: Why the fallback answered; empty for the model.
        unknown_items: Posted, excluded or otherwise named ids that the catalogue lacks.
        cache: ``hit`` or ``miss`` of the latent store, ``bypass`` when it was not asked,
            ``error`` when it failed.
        model_name: Name of the model.
        model_version: Version of its bundle.
        recommendation_id: Unique, for joining outcomes to the list.
        causes: Of each item, where they were asked for and the model answered.
        variant: The arm of the split that the user is in; None where no split chose the model.
    """

    top: TopK
    catalog: Catalog
    source: Source
    reason: Reason
    unknown_items: tuple[str, ...]
    cache: CacheOutcome
    model_name: str
    model_version: str
    recommendation_id: str
    causes: Causes | None = None
    variant: str | None = None
