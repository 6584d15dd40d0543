"""``foldin add-items`` as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from service import checkpoint
from service.catalog import Catalog
from training.errors import BadInputError
from training.verbs.add_items import add_items

NUM_ITEMS = 12
Foldin = Callable[..., Result]


@pytest.fixture
def foldin() -> Foldin:
    app = Typer()
    app.command()(add_items)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def model_dir(write_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    catalog = Catalog(
        item_ids=tuple(f"i{index}" for index in range(NUM_ITEMS)),
        titles=("A film",) * NUM_ITEMS,
        categories=tuple((f"kind {index % 2}",) for index in range(NUM_ITEMS)),
        popularity_I=np.full(NUM_ITEMS, 5),
    )
    write_bundle(tmp_path / "models", catalog, "cdae")
    return tmp_path / "models"


def test_items_of_a_file_join_the_model(foldin: Foldin, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("film,name,genres\n77,Film noir,kind 1|other\n78,,\n")
    columns = "item_id=film,title=name,categories=genres"
    record = tmp_path / "record.json"
    options = ["--columns", columns, "--json", record, "--lift", 0.5]
    done = foldin(model_dir, tmp_path / "new.csv", *options)
    assert done.exit_code == 0
    assert "2 items added, predicted from" in done.output
    assert "1 of them share none" in done.output
    loaded = checkpoint.load(model_dir)
    assert loaded.catalog.item_ids[-2:] == ("77", "78")
    assert loaded.catalog.categories[-2] == ("kind 1", "other")
    written = json.loads(record.read_text())
    assert written["count"] == 2
    assert Path(written["checkpoint"]).name == loaded.version


def test_an_item_that_is_there_is_named(foldin: Foldin, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("item_id\ni3\n")
    done = foldin(model_dir, tmp_path / "new.csv")
    assert isinstance(done.exception, BadInputError)
    assert "'i3'" in str(done.exception)


def test_a_folder_that_cannot_be_is_refused_first(
    foldin: Foldin, model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("item_id\nn1\n")
    done = foldin(model_dir, tmp_path / "new.csv", "--out", tmp_path / "new.csv")
    assert isinstance(done.exception, BadInputError)
    assert "is a file; name a folder" in str(done.exception)


@pytest.mark.parametrize("lift", ["nan", "inf"])
def test_a_lift_that_is_no_number_is_bad_usage(
    foldin: Foldin, model_dir: Path, tmp_path: Path, lift: str
) -> None:
    (tmp_path / "new.csv").write_text("item_id\nn1\n")
    before = sorted(model_dir.iterdir())
    done = foldin(model_dir, tmp_path / "new.csv", "--lift", lift)
    assert isinstance(done.exception, BadInputError)
    assert str(done.exception) == f"the lift is {lift}: it must be a finite number"
    assert sorted(model_dir.iterdir()) == before
