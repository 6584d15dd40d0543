"""What requests look like that have no body: validation and documentation of query parameters."""

from typing import Annotated, TypeAlias, final

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas import (
    DIMENSION,
    MAX_STEERED,
    Categories,
    ListOptions,
    ModelName,
)
from service.recommendation import CategoryFilter, Steering, steering

Move: TypeAlias = Annotated[
    str, Field(pattern=rf"^{DIMENSION}:-?(10(\.0{{1,6}})?|[0-9](\.[0-9]{{1,6}})?)$")
]


class CategoryParameters(BaseModel):
    """Which categories the items of a list may have, as query parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    categories_any: Categories = []
    """Only items with at least one of these categories; repeat it for each."""

    categories_all: Categories = []
    """Only items with every one of these categories."""

    categories_none: Categories = []
    """No item with any of these categories."""

    def category_filter(self) -> CategoryFilter:
        """Give what is asked of the categories of items."""
        return CategoryFilter(
            tuple(self.categories_any), tuple(self.categories_all), tuple(self.categories_none)
        )


@final
class UserParameters(CategoryParameters, ListOptions):
    """How a list for a known user should be, as query parameters."""

    steer: Annotated[list[Move], Field(max_length=MAX_STEERED)] = []
    """A dimension of the user's latent and by how much it is moved, as in 3:-1.5; repeat it for
    each. Of one that comes twice, the last counts."""

    def moves(self) -> Steering:
        """Give what is asked of the dimensions of the latent."""
        pairs = dict(move.split(":") for move in self.steer)
        return steering((int(dimension), float(offset)) for dimension, offset in pairs.items())


@final
class ItemParameters(BaseModel):
    """Which items of a catalogue to show, as query parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    query: Annotated[str, Field(max_length=200)] = ""
    """Words or parts of words of the title."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """Items wanted."""

    model: ModelName | None = None
    """Whose catalogue. Unset: the default model's."""
