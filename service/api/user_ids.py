"""Ids of users in paths: what is taken of a path, and what of that is an id."""

from typing import Annotated, TypeAlias, final

from fastapi import Path
from starlette.convertors import Convertor, register_url_convertor

from service.api.schemas import MAX_USER_ID_LENGTH, NO_CONTROL_CHARACTERS


@final
class _Text(Convertor[str]):
    r"""Any text, with slashes too, for ``{user_id:text}``.

    Starlette's own ``path`` leaves line breaks out: it would take a request about the user "a\n"
    for one about "a", and forget them.
    """

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


# Starlette knows convertors by their names alone, as soon as a route is declared.
register_url_convertor("text", _Text())

UserIdInPath: TypeAlias = Annotated[
    str,
    Path(
        min_length=1,
        max_length=MAX_USER_ID_LENGTH,
        pattern=f"^{NO_CONTROL_CHARACTERS}$",
        description="The user, as in posted requests.",
    ),
]
