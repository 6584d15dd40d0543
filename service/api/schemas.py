"""What requests and answers look like: validation on the way in, documentation both ways."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from service.errors import HistoryTooLongError
from service.histories import MAX_WEIGHT, MIN_WEIGHT
from service.recommendation import (
    EVERY_CATEGORY,
    CategoryFilter,
    Controls,
    PostedHistory,
    Query,
    Steering,
    steering,
)

OnUnknown: TypeAlias = Literal["ignore", "error"]


@final
@dataclass(frozen=True, slots=True)
class _Identifier:
    """Text, or an integer that is read as its decimal text; nothing else is an id.

    In the schema itself, since a validator in Python would be called once an entry.
    """

    explanation: str
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None

    def __get_pydantic_core_schema__(
        self, source: type[str], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        text = core_schema.str_schema(
            strict=True,
            min_length=self.min_length,
            max_length=self.max_length,
            pattern=self.pattern,
        )
        integer = core_schema.int_schema(strict=True, ge=-(2**63), lt=2**64)
        either = core_schema.union_schema(
            [text, integer],
            mode="left_to_right",
            custom_error_type="identifier",
            custom_error_message=self.explanation,
        )
        return core_schema.no_info_after_validator_function(str, either)


MAX_USER_ID_LENGTH: Final = 256
# A user must be able to stand in a path, through whatever proxy, to be asked for and forgotten.
NO_CONTROL_CHARACTERS: Final = r"[^\x00-\x1f\x7f-\x9f]*"

ItemId: TypeAlias = Annotated[str, _Identifier("an id is text or a 64-bit integer")]
UserId: TypeAlias = Annotated[
    str,
    _Identifier(
        f"an id is text of 1 to {MAX_USER_ID_LENGTH} characters, none of them a control character, "
        "or a 64-bit integer",
        1,
        MAX_USER_ID_LENGTH,
        f"^{NO_CONTROL_CHARACTERS}$",
    ),
]
ModelName: TypeAlias = Annotated[str, Field(max_length=128)]


class Message(BaseModel):
    """A part of a request: no field is converted, dropped or made up."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


@final
class HistoryObject(Message):
    """One interaction with what is known about it."""

    item_id: ItemId
    """The item; an id counts once however often it is posted."""

    rating: float | None = None
    """Below the model's positive threshold: seen, but not liked. Models of ratings encode it."""

    weight: Annotated[float, Field(ge=MIN_WEIGHT, le=MAX_WEIGHT)] = 1.0
    """How much the interaction says, relative to the others; not to models of ratings."""


Entry: TypeAlias = Annotated[ItemId | HistoryObject, Field(union_mode="left_to_right")]


# Nothing is gained above: the order of the list is all penalty, or all noise.
MAX_CONTROL: Final = 10.0
MAX_DISLIKES: Final = 100
MAX_STEERED: Final = 100
MAX_CATEGORY_LENGTH: Final = 256
MAX_CATEGORIES: Final = 100
Category: TypeAlias = Annotated[str, Field(max_length=MAX_CATEGORY_LENGTH)]
Categories: TypeAlias = Annotated[list[Category], Field(max_length=MAX_CATEGORIES, fail_fast=True)]


DIMENSION: Final = "(0|[1-9][0-9]{0,4})"
Offset: TypeAlias = Annotated[float, Field(ge=-MAX_CONTROL, le=MAX_CONTROL)]


def _dimensions(moves: dict[str, float]) -> dict[str, float]:
    """Make sure that every key names a dimension; pydantic itself would point to the key's type."""
    if all(re.fullmatch(DIMENSION, name) for name in moves):
        return moves
    raise PydanticCustomError("dimension", "a dimension is a whole number as text, 0 to 99999")


@final
class CategoryChoice(Message):
    """Which categories the items of a list may have; a category that no item has is no error."""

    any: Categories = []
    """Only items with at least one of these."""

    all: Categories = []
    """Only items with every one of these."""

    none: Categories = []
    """No item with any of these."""


class ListOptions(BaseModel):
    """How a list should be, in a body or as query parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    k: Annotated[int, Field(ge=1)] = 20
    """Items wanted; fewer come when the catalogue has no more to show."""

    exclude_items: Annotated[list[ItemId], Field(fail_fast=True)] = []
    """Items that may not come back; as a query parameter, repeat it for each."""

    candidate_items: Annotated[list[ItemId] | None, Field(fail_fast=True)] = None
    """The items to choose among; unset: all of the catalogue."""

    exclude_seen: bool = True
    """Whether items of the history stay out of the list."""

    on_unknown: OnUnknown = "ignore"
    """Ids that the catalogue lacks: list them in the answer, or refuse the request."""

    dislikes: Annotated[list[ItemId], Field(max_length=MAX_DISLIKES, fail_fast=True)] = []
    """Items that may not come back, nor, as far as there are others, items like them."""

    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much an item loses for being like one that stands before it; 0: nothing."""

    popularity_penalty: Annotated[float, Field(ge=0, le=MAX_CONTROL)] = 0.0
    """How much popular items lose: at 1, the most popular one as much as there is between the best
    and the last of the items to pick from."""

    calibration: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much it counts that categories have the shares that they have in the history."""

    exploration: Annotated[float, Field(ge=0, le=MAX_CONTROL)] = 0.0
    """Draw the user from the model's posterior, its spread times this; variational models only."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Start of the chance of that draw: the same seed, the same list. Unset: another each time."""

    explain: bool = False
    """Whether to name, for each item, the entries of the history that raised its score most."""

    fallback: bool = True
    """Whether the most popular items may stand in where the model has nothing to go on."""

    model: ModelName | None = None
    """Which model to ask; GET /models lists them. Unset: the default one."""

    def category_filter(self) -> CategoryFilter:
        """Give what is asked of the categories of items."""
        return EVERY_CATEGORY

    def moves(self) -> Steering:
        """Give what is asked of the dimensions of the latent."""
        return ()

    def query_for(self, history: PostedHistory | None, user_id: str | None) -> Query:
        """Ask the use case's question about a history, a user or both."""
        return Query(
            history=history,
            user_id=user_id,
            k=self.k,
            exclude_items=tuple(self.exclude_items),
            candidate_items=None if self.candidate_items is None else tuple(self.candidate_items),
            categories=self.category_filter(),
            controls=Controls(
                dislikes=tuple(self.dislikes),
                diversity=self.diversity,
                popularity_penalty=self.popularity_penalty,
                calibration=self.calibration,
                exploration=self.exploration,
                seed=self.seed,
                steer=self.moves(),
            ),
            explain=self.explain,
            exclude_seen=self.exclude_seen,
            strict=self.on_unknown == "error",
            fallback=self.fallback,
            model=self.model,
        )


@final
class RecommendRequest(ListOptions):
    """A request for one list: a history, a user, or both (the history wins and is kept)."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    history: Annotated[list[Entry] | None, Field(fail_fast=True)] = None
    """Items the user has met: ids, or objects with a rating or weight. Empty: a new user."""

    user_id: UserId | None = None
    """Without a history: whose kept history to use. With one: for whom to keep it."""

    categories: CategoryChoice | None = None
    """Which categories the items may have; unset: any."""

    steer: Annotated[
        dict[str, Offset],
        Field(
            max_length=MAX_STEERED,
            json_schema_extra={"propertyNames": {"pattern": f"^{DIMENSION}$"}},
        ),
        AfterValidator(_dimensions),
    ] = {}
    """Dimensions of the user's latent, as text from "0", and by how much each is moved before it is
    decoded: the prior's standard deviation is 1; variational models only.
    GET /models/{name}/dimensions says what they stand for."""

    @model_validator(mode="after")
    def _has_history_or_user(self) -> Self:
        if self.history is None and self.user_id is None:
            raise PydanticCustomError("missing", "give a history, a user_id or both")
        return self

    def category_filter(self) -> CategoryFilter:
        """Give what is asked of the categories of items."""
        asked = self.categories
        if asked is None:
            return EVERY_CATEGORY
        return CategoryFilter(tuple(asked.any), tuple(asked.all), tuple(asked.none))

    def moves(self) -> Steering:
        """Give what is asked of the dimensions of the latent."""
        return steering((int(dimension), offset) for dimension, offset in self.steer.items())

    def to_query(self, max_history: int) -> Query:
        """Turn the request into the use case's question.

        Raises:
            HistoryTooLongError: Said before an object is made of each of a million entries.
        """
        if self.history is None:
            return self.query_for(None, self.user_id)
        if len(self.history) > max_history:
            raise HistoryTooLongError("history", len(self.history), max_history)
        return self.query_for(PostedHistory.of(self.history), self.user_id)


@final
class BatchRequest(Message):
    """Requests for many lists. Each row is validated by itself, and fails by itself."""

    requests: Annotated[
        list[Any],
        Field(json_schema_extra={"items": {"$ref": "#/components/schemas/RecommendRequest"}}),
    ]
    """The rows, as for POST /recommend."""
