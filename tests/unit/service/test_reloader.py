"""What moves a reload, and what becomes of models that are let go. tests/api has the routes."""

import asyncio
import errno
import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from service.agreement import Agreement
from service.deployment import Deployment, Loader, Served
from service.errors import (
    CheckpointDigestError,
    CheckpointMissingError,
    NoPreviousModelError,
    ReloadRefusedError,
)
from service.model_end import make_sure_of_end
from service.model_folder import bundle_at, digest_at, fingerprint
from service.reloader import Reloader, reload_when
from service.telemetry import Telemetry

CPU = torch.device("cpu")
WriteBundle = Callable[..., Path]
NUM_ITEMS = 30


@pytest.fixture
def bundles(write_bundle: WriteBundle, tmp_path: Path) -> list[Path]:
    written = [write_bundle(tmp_path / "m", NUM_ITEMS, seed=seed) for seed in range(3)]
    point_at(written[0])
    return written


def point_at(bundle: Path) -> None:
    (bundle.parent / "CURRENT").write_text(bundle.name)


def opened(path: Path, agreement: Agreement | None = None) -> tuple[Deployment, Reloader]:
    telemetry = Telemetry()
    loader = Loader(CPU, telemetry)
    deployment = Deployment(loader.load(path), telemetry)
    return deployment, Reloader(deployment, path, loader.load, telemetry, agreement)


async def test_two_models_are_held_and_the_third_is_freed_at_once(bundles: list[Path]) -> None:
    deployment, reloader = opened(bundles[0].parent)
    gc.freeze()  # as the app does
    first = weakref.ref(deployment.current.checkpoint.model)
    try:
        for bundle in bundles[1:]:
            assert first() is not None
            point_at(bundle)
            await reloader.reload()
    finally:
        gc.unfreeze()
    assert first() is None
    assert deployment.previous is not None
    assert deployment.previous.version == bundles[1].name


class Loop:
    def __init__(self) -> None:
        self.me = self


def test_a_cycle_that_keeps_a_frozen_model_is_collected(caplog: pytest.LogCaptureFixture) -> None:
    kept = Loop()
    model = weakref.ref(kept)
    gc.freeze()
    del kept
    gc.collect()
    assert model() is not None
    try:
        make_sure_of_end(model)
        assert model() is None
        make_sure_of_end(model)
    finally:
        gc.unfreeze()
    assert caplog.messages == ["a model that was let go is collected"]


async def test_a_request_that_came_before_the_models_were_there_is_served_by_all(
    bundles: list[Path],
) -> None:
    deployment, reloader = opened(bundles[0].parent)
    other, its = opened(bundles[0].parent)
    asked = asyncio.Event()
    asked.set()
    point_at(bundles[1])
    running = asyncio.create_task(reload_when(asked, [reloader, its]))
    for _ in range(500):
        if other.current.version == bundles[1].name:
            break
        await asyncio.sleep(0.01)
    running.cancel()
    assert deployment.current.version == other.current.version == bundles[1].name
    assert not asked.is_set()


async def test_workers_hold_what_one_of_them_chose(bundles: list[Path], tmp_path: Path) -> None:
    agreement = Agreement(tmp_path / "agreement")
    (one, its), (other, others) = (opened(bundles[0].parent, agreement) for _ in range(2))
    await its.join()
    await others.join()
    point_at(bundles[1])
    await its.reload()
    await others.follow()
    await its.follow()  # has it already
    assert one.current.version == other.current.version == bundles[1].name
    await others.rollback()
    await its.follow()
    assert one.current.version == bundles[0].name

    point_at(bundles[2])
    await its.reload()
    late, its_own = opened(bundles[1], agreement)  # of its parent; not what is in CURRENT either
    assert late.current.version == bundles[1].name
    with pytest.raises(ReloadRefusedError):  # its folder is one bundle: the others are not in there
        await its_own.follow()
    assert late.current.version == bundles[1].name
    assert its.workers() == {bundles[2].name: 1}


async def test_a_choice_that_cannot_be_loaded_is_refused_and_tried_again_when_made_again(
    bundles: list[Path], tmp_path: Path
) -> None:
    agreement = Agreement(tmp_path / "agreement")
    deployment, reloader = opened(bundles[0].parent, agreement)
    await reloader.join()
    agreement.choose("20200101T000000Z-00000000", None)
    with pytest.raises(ReloadRefusedError, match="CheckpointDigestError"):
        await reloader.follow()
    await reloader.follow()
    agreement.choose(bundles[2].name, bundles[1].name)
    await reloader.follow()
    assert deployment.current.version == bundles[2].name
    assert deployment.previous is not None
    assert deployment.previous.version == bundles[1].name


async def test_a_worker_that_comes_when_the_bundle_before_is_gone_answers_as_the_others_do(
    bundles: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agreement = Agreement(tmp_path / "agreement")
    agreement.choose(bundles[2].name, bundles[1].name)
    shutil.rmtree(bundles[1])
    load = Flaky()
    reloader = flaky(bundles[0].parent, load, agreement)  # with the model of its parent
    deployment = reloader.deployment
    await reloader.join()
    assert reloader.workers() == {bundles[2].name: 1}
    assert load.paths == [bundles[2]]
    assert deployment.previous is None
    with pytest.raises(NoPreviousModelError, match="its bundle is gone"):
        await reloader.rollback()
    (told,) = caplog.messages
    assert told.startswith("nothing to roll back to: CheckpointDigestError: no ")


class Flaky:
    """A loader that fails with these errors first, for reasons that pass."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self._load = Loader(CPU, Telemetry()).load
        self.paths: list[Path] = []

    def __call__(self, path: Path) -> Served:
        self.paths.append(path)
        if self._errors:
            raise self._errors.pop(0)
        return self._load(path)


def flaky(path: Path, load: Flaky, agreement: Agreement | None = None) -> Reloader:
    telemetry = Telemetry()
    deployment = Deployment(Loader(CPU, telemetry).load(path), telemetry)
    return Reloader(deployment, path, load, telemetry, agreement)


def unread() -> CheckpointMissingError:
    """Make what a bundle ends in that cannot be opened for want of file handles."""
    error = CheckpointMissingError("manifest.json cannot be read: Too many open files")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    return error


async def test_a_choice_that_fails_for_a_reason_that_passes_is_followed_when_it_has_passed(
    bundles: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agreement = Agreement(tmp_path / "agreement")
    full = OSError(errno.EMFILE, "Too many open files")
    reloader = flaky(bundles[0].parent, Flaky(full, full, unread()), agreement)
    await reloader.join()
    agreement.choose(bundles[1].name, None)
    for _ in range(3):
        with pytest.raises(ReloadRefusedError):
            await reloader.follow()
    await reloader.follow()
    assert reloader.workers() == {bundles[1].name: 1}
    refusals = [message for message in caplog.messages if message.startswith("reload refused")]
    assert len(refusals) == 2  # one of each kind


async def test_a_change_that_fails_for_a_reason_that_passes_is_looked_at_again(
    bundles: list[Path],
) -> None:
    reloader = flaky(bundles[0].parent, Flaky(MemoryError()))
    point_at(bundles[1])
    with pytest.raises(ReloadRefusedError, match="MemoryError"):
        await reloader.look()
    await reloader.look()
    assert reloader.workers() == {bundles[1].name: 1}


async def test_a_bundle_that_is_wrong_is_not_looked_at_again(bundles: list[Path]) -> None:
    reloader = flaky(bundles[0].parent, Flaky(CheckpointDigestError("other content")))
    point_at(bundles[1])
    with pytest.raises(ReloadRefusedError, match="CheckpointDigestError"):
        await reloader.look()
    await reloader.look()
    assert reloader.workers() == {bundles[0].name: 1}


def test_a_model_folder_is_told_by_its_pointer_and_its_files(bundles: list[Path]) -> None:
    folder = bundles[0].parent
    seen = [fingerprint(folder)]
    assert fingerprint(folder) == seen[0]
    point_at(bundles[1])
    seen.append(fingerprint(folder))
    (bundles[1] / "canaries.json").write_bytes(b"")
    seen.append(fingerprint(folder))
    (folder / "CURRENT").write_text("20200101T000000Z-00000000")
    seen.append(fingerprint(folder))
    (folder / "CURRENT").unlink()
    seen.append(fingerprint(folder))
    assert len(set(seen)) == len(seen)


def test_a_folder_without_its_bundle_has_no_digest(bundles: list[Path]) -> None:
    (bundles[0].parent / "CURRENT").write_text("20200101T000000Z-00000000")
    with pytest.raises(CheckpointMissingError, match="cannot be read"):
        digest_at(bundles[0].parent)


def test_a_version_stands_below_its_folder_or_is_the_folder(bundles: list[Path]) -> None:
    folder = bundles[0].parent
    assert bundle_at(folder, bundles[1].name) == bundles[1]
    assert bundle_at(bundles[0], bundles[0].name) == bundles[0]
    assert digest_at(folder) == digest_at(bundles[0])


async def test_a_worker_that_followed_does_not_undo_a_rollback(
    bundles: list[Path], tmp_path: Path
) -> None:
    """It has not looked at CURRENT itself yet, which names what was rolled back since."""
    folder = tmp_path / "agreement"
    _, one = opened(bundles[0].parent, Agreement(folder))
    other_models, other = opened(bundles[0].parent, Agreement(folder))
    for reloader in (one, other):
        await reloader.join()
        await reloader.look()
    point_at(bundles[1])
    await one.look()
    await other.follow()
    await one.rollback()
    await other.look()
    for reloader in (one, other):
        await reloader.follow()
    assert other_models.current.version == bundles[0].name
    assert Agreement(folder).choice() is not None


async def test_a_reload_of_all_models_leaves_one_that_was_rolled_back_alone(
    bundles: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "agreement"
    models, one = opened(bundles[0].parent, Agreement(folder))
    other_models, other = opened(bundles[0].parent, Agreement(folder))
    for reloader in (one, other):
        await reloader.join()
    point_at(bundles[1])
    for reloader in (one, other):
        await reloader.reload_with_all()
    await one.rollback()
    for reloader in (other, one, other):  # the other one has not seen the rollback yet
        await reloader.reload_with_all()
        await reloader.follow()
    assert models.current.version == other_models.current.version == bundles[0].name

    point_at(bundles[2])
    await one.reload_with_all()
    assert models.current.version == bundles[2].name
    await one.rollback()
    assert await one.reload() == "swapped"  # who asks for this model means it


async def test_a_reload_of_all_models_takes_what_current_is_set_back_to(
    bundles: list[Path],
) -> None:
    deployment, reloader = opened(bundles[0].parent)
    for bundle in (bundles[1], bundles[0]):
        point_at(bundle)
        await reloader.reload_with_all()
        assert deployment.current.version == bundle.name
    (bundles[0].parent / "CURRENT").unlink()
    for _ in range(2):
        with pytest.raises(ReloadRefusedError, match="CheckpointMissingError"):
            await reloader.reload_with_all()


async def test_a_worker_that_could_not_follow_a_rollback_does_not_undo_it_either(
    bundles: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "agreement"
    models, one = opened(bundles[0].parent, Agreement(folder))
    await one.join()
    for bundle in bundles[1:]:
        point_at(bundle)
        await one.reload()
    shutil.rmtree(bundles[1])
    late_models, late = opened(bundles[0].parent, Agreement(folder))
    await late.join()
    await one.rollback()
    with pytest.raises(ReloadRefusedError):
        await late.follow()
    await late.reload_with_all()
    await one.follow()
    assert models.current.version == bundles[1].name

    assert await late.reload() == "unchanged"  # on purpose
    await one.follow()
    for deployment, before in ((models, bundles[1].name), (late_models, None)):
        assert deployment.current.version == bundles[2].name
        assert (deployment.previous and deployment.previous.version) == before
