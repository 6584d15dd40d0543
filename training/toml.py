"""Settings as TOML text, for ``read_toml`` to read back."""

import json
import math
from collections.abc import Mapping
from typing import Any


def to_toml(settings: Mapping[str, Any]) -> str:
    """Write one ``key = value`` a line, in the given order; ``None`` is left out.

    Raises:
        TypeError: A value that TOML has no word for.
    """
    lines = [
        f"{_key(key)} = {_value(value)}" for key, value in settings.items() if value is not None
    ]
    return "".join(line + "\n" for line in lines)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        pairs = [f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None]
        return "{" + ", ".join(pairs) + "}"
    raise TypeError(f"TOML has no word for {value!r}")


def _key(key: str) -> str:
    bare = key and key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _text(key)


def _text(text: str) -> str:
    # A JSON string is a TOML string, but for DEL, which TOML wants escaped as well.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
