from pathlib import Path

import pytest

from training.data import datasets
from training.data.log_cache import LogCache
from training.errors import BadInputError
from training.verbs.options import cache_folder, data_options, load


def test_large_logs_are_cached_in_the_home_folder_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder(None, no_cache=False) == tmp_path / ".cache" / "foldin"
    assert cache_folder(tmp_path / "x", no_cache=False) == tmp_path / "x"
    assert cache_folder(None, no_cache=True) is None


def test_where_nobody_has_a_home_nothing_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert cache_folder(None, no_cache=False) is None


def test_a_cache_and_none_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="--cache and --no-cache do not go together"):
        cache_folder(tmp_path, no_cache=True)


def test_a_log_is_told_to_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datasets, "LogCache", lambda folder: LogCache(folder, 1))
    rows = [f"u{user},{(user + place) % 8}" for user in range(40) for place in range(6)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id", *rows]))
    options = data_options(None, "", "weak", None, cache=tmp_path / "cache")
    first, second = (load(str(tmp_path / "log.csv"), options) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.notes[0].startswith("cached for the next time: ")
    assert second.notes[0].startswith("read from the cache: ")
    said = capsys.readouterr().out
    assert said.index(first.notes[0]) < said.index(second.notes[0])
