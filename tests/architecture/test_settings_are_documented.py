"""The README's table of settings is what the code says."""

import re
from pathlib import Path

from service.settings import PREFIX, Settings

README = (Path(__file__).parents[2] / "README.md").read_text()
ROW = re.compile(rf"^\| `({PREFIX}\w+)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def rows_of_the_code() -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append((PREFIX + name.upper(), default, " ".join((field.description or "").split())))
    return rows


def test_the_table_of_settings_is_that_of_the_code() -> None:
    expected = "\n".join(
        f"| `{name}` | {default} | {text} |" for name, default, text in rows_of_the_code()
    )
    assert ROW.findall(README) == rows_of_the_code(), f"the table should read:\n{expected}"
