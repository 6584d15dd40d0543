from multiprocessing import current_process
from pathlib import Path

import pytest

from service.agreement import Agreement


@pytest.fixture
def agreement(tmp_path: Path) -> Agreement:
    return Agreement(tmp_path / "agreement")


def test_nothing_is_chosen_at_first(agreement: Agreement) -> None:
    assert agreement.choice() is None
    assert agreement.versions() == {}


def test_the_last_choice_counts_and_the_same_one_made_again_is_another(
    agreement: Agreement,
) -> None:
    first = agreement.choose("v1", None)
    assert agreement.choice() == first
    second = agreement.choose("v2", "v1")
    again = agreement.choose("v2", "v1")
    assert (again.current, again.previous) == ("v2", "v1")
    assert again.token != second.token
    assert agreement.choice() == again


def test_what_a_worker_began_with_is_the_choice_only_where_there_is_none(
    agreement: Agreement, tmp_path: Path
) -> None:
    agreement.choose_first("v1")
    agreement.choose_first("v2")
    choice = Agreement(tmp_path / "agreement").choice()
    assert choice is not None
    assert (choice.current, choice.previous) == ("v1", None)
    assert [path.name for path in (tmp_path / "agreement").iterdir()] == ["choice"]


def test_workers_are_counted_by_version_until_they_end(
    agreement: Agreement, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version in ("a", "v1"), ("b", "v1"), ("c", "v2"):
        monkeypatch.setattr(current_process(), "_name", name)
        agreement.tell(version)
    assert agreement.versions() == {"v1": 2, "v2": 1}
    agreement.forget("a")
    agreement.forget("never there")
    assert agreement.versions() == {"v1": 1, "v2": 1}


def test_a_turn_comes_after_the_other_of_whatever_model(tmp_path: Path) -> None:
    for name in "one", "turn", "one":
        with Agreement(tmp_path / "agreements" / name).turn():
            pass
    assert (tmp_path / "agreements" / ".turn").exists()
