"""The README's table of settings is what the code says."""

import subprocess
import sys
from pathlib import Path

from service.settings import PREFIX, Settings
from service.settings_table import settings_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_table_of_settings_is_the_generated_one() -> None:
    table = settings_table()
    assert table in README, f"python -m service.settings_table writes:\n{table}"


def test_the_readme_has_no_row_of_a_setting_beside_the_table() -> None:
    assert README.count(f"| `{PREFIX}") == len(Settings.model_fields)


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_command_writes_the_table() -> None:
    command = [sys.executable, "-m", "service.settings_table"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == settings_table()
