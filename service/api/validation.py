"""From bytes or parameters to valid requests, and from pydantic's errors to JSON pointers."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from service.api.problems import InvalidFieldsError, MalformedBodyError, WrongField, on_error

# Naming a wrong field costs 2 us; a body of 8 MiB can have half a million of them.
MAX_NAMED_FIELDS: Final = 100
MAX_NAME_LENGTH: Final = 100
AMBIGUOUS_ENTRY: Final = "an entry is an item id (text or integer) or an object with an item_id"

ModelT = TypeVar("ModelT", bound=BaseModel)
FieldNames = Sequence[str]


def from_json(model: type[ModelT], body: bytes) -> ModelT:
    """Parse and validate a body in one pass.

    Raises:
        MalformedBodyError: It is not JSON.
        InvalidFieldsError: Names each wrong field.
    """
    return _validated(model, lambda: model.model_validate_json(body))


def from_value(model: type[ModelT], value: object) -> ModelT:
    """Validate a part of a body that is parsed already.

    Raises:
        InvalidFieldsError: Names each wrong field.
    """
    return _validated(model, lambda: model.model_validate(value))


async def on_wrong_parameters(request: Request, error: Exception) -> Response:
    """Answer wrong query or path parameters as wrong fields of a body are answered."""
    if isinstance(error, RequestValidationError):
        errors = [{**part, "loc": part["loc"][1:]} for part in error.errors()]
        named = errors if len(errors) <= MAX_NAMED_FIELDS else []
        error = InvalidFieldsError(_wrong_fields(named, ()), len(errors))
    return await on_error(request, error)


def _validated(model: type[ModelT], validate: Callable[[], ModelT]) -> ModelT:
    try:
        return validate()
    except ValidationError as error:
        count = error.error_count()
        if count > MAX_NAMED_FIELDS:
            raise InvalidFieldsError([], count) from error
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            raise MalformedBodyError(errors[0]["msg"]) from error
        raise InvalidFieldsError(_wrong_fields(errors, list(model.model_fields)), count) from error


def _wrong_fields(errors: Sequence[Mapping[str, Any]], known: FieldNames) -> list[WrongField]:
    """Give one line per field, in the order of the errors.

    An entry of a list may be an id or an object; what is neither fails at both. Where the object
    has wrong fields, the caller meant an object, and the failed id goes unsaid.
    """
    details: dict[str, str] = {}
    for error in errors:
        location = tuple(error["loc"])
        is_entry = len(location) > 1 and _is_alternative(location, len(location) - 1)
        details.setdefault(_pointer(location), AMBIGUOUS_ENTRY if is_entry else _why(error, known))
    return [
        WrongField(pointer, detail)
        for pointer, detail in details.items()
        if not any(other.startswith(f"{pointer}/") for other in details)
    ]


def _pointer(location: tuple[int | str, ...]) -> str:
    """Write a location as a JSON pointer (RFC 6901), without the names of alternatives."""
    parts = [
        str(part)[:MAX_NAME_LENGTH].replace("~", "~0").replace("/", "~1")
        for position, part in enumerate(location)
        if not _is_alternative(location, position)
    ]
    return "".join(f"/{part}" for part in parts)


def _is_alternative(location: tuple[int | str, ...], position: int) -> bool:
    # After the index of an entry stands the alternative that was tried, and no field of ours.
    return (
        position > 0
        and isinstance(location[position - 1], int)
        and isinstance(location[position], str)
    )


def _why(error: Mapping[str, Any], known: FieldNames) -> str:
    if error["type"] == "model_type":
        return "an object is expected here"
    if error["type"] != "extra_forbidden":
        return str(error["msg"])
    close = difflib.get_close_matches(str(error["loc"][-1])[:MAX_NAME_LENGTH], known, n=1)
    return f"no such field; did you mean {close[0]}?" if close else "no such field"
