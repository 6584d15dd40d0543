import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from service.agreement import Agreement
from service.deployment import Loader
from service.errors import CheckpointMissingError, SettingsError
from service.lineup import Lineup, Place
from service.settings import Settings
from service.split import Split
from service.telemetry import Telemetry

WriteBundle = Callable[..., Path]


@pytest.fixture
def models_dir(write_bundle: WriteBundle, tmp_path: Path) -> Path:
    """Two model directories, a bundle, and what is none of them."""
    models = tmp_path / "models"
    for seed, name in enumerate(["new", "old"]):
        write_bundle(models / name, 20, seed=seed)
    bundle = write_bundle(tmp_path / "elsewhere", 20, "cdae")
    bundle.rename(models / "plain")
    (models / "empty").mkdir()
    (models / ".copying").mkdir()
    (models / ".copying" / "CURRENT").write_text("x")
    (models / "notes.txt").write_text("of the operator")
    return models


def lineup(**chosen: Any) -> Lineup:  # noqa: ANN401 - as Settings takes them
    return Lineup.of(Settings(**chosen))


def test_one_model_goes_by_the_name_in_its_bundle(tmp_path: Path) -> None:
    assert lineup(model_dir=tmp_path) == Lineup((Place(tmp_path),))


def test_every_folder_with_a_model_is_one_and_the_first_by_name_is_the_default(
    models_dir: Path,
) -> None:
    found = lineup(models_dir=models_dir)
    assert [place.name for place in found.places] == ["new", "old", "plain"]
    assert found.places[0].path == models_dir / "new"


def test_the_default_is_the_one_that_is_named_else_the_first_of_the_split(
    models_dir: Path,
) -> None:
    split = lineup(models_dir=models_dir, split="old=9,new=1", split_name="autumn")
    assert [place.name for place in split.places] == ["old", "new", "plain"]
    assert split.split == Split((("old", 9.0), ("new", 1.0)), "autumn")
    named = lineup(models_dir=models_dir, split="old=9,new=1", default_model="plain")
    assert [place.name for place in named.places] == ["plain", "new", "old"]
    shadows = lineup(models_dir=models_dir, shadow=" new , plain,")
    assert shadows.shadows == ("new", "plain")


@pytest.mark.parametrize("chosen", [{"split": "other=1"}, {"shadow": "x"}, {"default_model": "x"}])
def test_a_model_that_is_not_there_is_named_beside_those_that_are(
    models_dir: Path, chosen: dict[str, str]
) -> None:
    with pytest.raises(SettingsError, match=r"no model '.*' in .*; there: new, old, plain"):
        lineup(models_dir=models_dir, **chosen)


def test_a_shadow_is_cast_once(models_dir: Path) -> None:
    with pytest.raises(SettingsError, match="FOLDIN_SHADOW names 'old' twice"):
        lineup(models_dir=models_dir, shadow="old,new, old")


@pytest.mark.parametrize("chosen", [{"split": "a=1"}, {"shadow": "a"}, {"default_model": "a"}])
def test_one_model_is_not_compared(tmp_path: Path, chosen: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="are of several models: set FOLDIN_MODELS_DIR"):
        lineup(model_dir=tmp_path, **chosen)


def test_a_folder_without_a_model_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError, match=r"no folder of .* has a CURRENT or a manif"):
        lineup(models_dir=tmp_path)
    with pytest.raises(CheckpointMissingError, match="cannot be read: No such file"):
        lineup(models_dir=tmp_path / "nowhere")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_folder_whose_name_no_request_could_say_is_named(models_dir: Path) -> None:
    (models_dir / "old").rename(models_dir / os.fsdecode(b"caf\xe9"))
    with pytest.raises(SettingsError, match=r"the name of .*caf\\udce9' is not UTF-8"):
        lineup(models_dir=models_dir)
    (models_dir / os.fsdecode(b"caf\xe9") / "CURRENT").unlink()  # no model any more
    assert [place.name for place in lineup(models_dir=models_dir).places] == ["new", "plain"]


async def test_a_worker_that_comes_later_begins_with_what_the_others_agreed_on(
    models_dir: Path, write_bundle: WriteBundle, tmp_path: Path
) -> None:
    agreements = tmp_path / "agreements"
    found = replace(lineup(models_dir=models_dir), agreements=agreements)
    loader = Loader(torch.device("cpu"), Telemetry())
    first = found.open(loader)
    for reloader in found.reloaders(first, loader):
        await reloader.join()
    write_bundle(models_dir / "old", 20, seed=7)  # CURRENT changes, and nobody was asked
    second = found.open(loader)
    assert [served.version for served in second.models] == [
        served.version for served in first.models
    ]
    assert [served.name for served in second.models] == ["new", "old", "plain"]
    alone = replace(found, agreements=None).open(loader)
    assert alone.served("old").version != first.served("old").version
    versions = Agreement(agreements / "old").versions()
    assert versions == {first.served("old").version: 1}
