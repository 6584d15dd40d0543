"""``python -m service.settings_table``: the settings as the table of the README."""

import sys

from service.settings import PREFIX, Settings

HEAD = "| variable | default | meaning |\n|---|---|---|\n"


def settings_table() -> str:
    """Write a row for every setting, in Markdown: variable, default, meaning."""
    return HEAD + "".join(
        f"| `{PREFIX}{name.upper()}` | {_code(field.default)} | {_line(field.description)} |\n"
        for name, field in Settings.model_fields.items()
    )


def _code(default: object) -> str:
    return "" if default is None else f"`{default}`"


def _line(meaning: str | None) -> str:
    return " ".join((meaning or "").split())


if __name__ == "__main__":
    sys.stdout.write(settings_table())
