"""POST /models/{name}/reload and /rollback, and what becomes of a bundle that is not whole."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
from safetensors.numpy import load_file, save_file

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
WriteBundle = Callable[..., Path]

KEY = "k3y-of-an-admin"
HEADERS = {"X-API-Key": KEY}
ADMIN_KEYS = hashlib.sha256(KEY.encode()).hexdigest()
NUM_ITEMS = 40


@pytest.fixture
def folder(write_bundle: WriteBundle, tmp_path: Path) -> Path:
    """A model directory with the bundle of seed 0."""
    write_bundle(tmp_path / "models", NUM_ITEMS, name="films", seed=0)
    return tmp_path / "models"


@pytest.fixture
async def client(running: Running, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(model_dir=folder, admin_keys_sha256=ADMIN_KEYS) as started:
        yield started


async def change(client: httpx.AsyncClient, what: str, name: str = "films") -> httpx.Response:
    return await client.post(f"/models/{name}/{what}", headers=HEADERS)


async def version(client: httpx.AsyncClient) -> str:
    answer = await client.post("/recommend", json={"history": ["i1"], "k": 3})
    found: str = answer.json()["model"]["version"]
    return found


def reloads(page: str, model: str = "films") -> dict[tuple[str, str], int]:
    """Give the counts of outcome and reason, all of them of this model."""
    lines = [line for line in page.splitlines() if line.startswith("foldin_reload_total{")]
    parts = [line.split('"') for line in lines]
    assert {part[1] for part in parts} <= {model}
    return {(part[3], part[5]): int(float(part[6].split()[-1])) for part in parts}


async def test_a_new_bundle_takes_over_and_the_old_one_comes_back_at_once(
    client: httpx.AsyncClient, folder: Path, write_bundle: WriteBundle
) -> None:
    old = await version(client)
    new = write_bundle(folder, NUM_ITEMS, name="films", seed=1).name
    assert await version(client) == old
    answer = await change(client, "reload")
    assert answer.status_code == 200
    assert answer.json() == {
        "outcome": "swapped",
        "model": {"name": "films", "version": new},
        "previous_version": old,
    }
    assert await version(client) == new
    assert (await change(client, "reload")).json()["outcome"] == "unchanged"
    assert (await change(client, "rollback")).json()["model"]["version"] == old
    assert await version(client) == old
    assert (await change(client, "rollback")).json()["model"]["version"] == new
    (card,) = (await client.get("/models")).json()["models"]
    assert card["version"] == new
    assert card["previous_version"] == old
    assert card["workers"] == {new: 1}
    page = (await client.get("/metrics")).text
    assert reloads(page) == {("swapped", ""): 1, ("unchanged", ""): 1, ("rolled_back", ""): 2}
    (info,) = [line for line in page.splitlines() if line.startswith("foldin_model_info{")]
    assert f'version="{new}"' in info


async def test_a_reload_after_a_rollback_takes_what_is_in_memory(
    client: httpx.AsyncClient, folder: Path, write_bundle: WriteBundle
) -> None:
    new = write_bundle(folder, NUM_ITEMS, name="films", seed=1)
    await change(client, "reload")
    await change(client, "rollback")
    (new / "model.safetensors").write_bytes(b"")  # would be refused if it were read
    assert (await change(client, "reload")).json()["model"]["version"] == new.name


async def test_the_first_model_has_nothing_to_go_back_to(client: httpx.AsyncClient) -> None:
    answer = await change(client, "rollback")
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/no-previous-model"


async def test_a_model_that_nobody_serves_is_not_found(client: httpx.AsyncClient) -> None:
    for what in "reload", "rollback":
        assert (await change(client, what, "books")).status_code == 404


async def test_only_an_admin_may_exchange_the_model(
    client: httpx.AsyncClient, running: Running, folder: Path
) -> None:
    assert (await client.post("/models/films/reload")).status_code == 401
    async with running(model_dir=folder) as unlocked:
        assert (await change(unlocked, "rollback")).status_code == 403


async def test_no_latent_of_the_old_model_is_used_by_the_new_one(
    client: httpx.AsyncClient, folder: Path, write_bundle: WriteBundle
) -> None:
    body = {"history": ["i1", "i2"], "user_id": "anna", "k": 5}
    first = (await client.post("/recommend", json=body)).json()
    kept = (await client.get("/users/anna/recommendations?k=5")).json()
    assert (kept["cache"], kept["items"]) == ("hit", first["items"])

    write_bundle(folder, NUM_ITEMS, name="films", seed=1)
    await change(client, "reload")
    anew = (await client.get("/users/anna/recommendations?k=5")).json()
    assert (anew["cache"], anew["source"]) == ("miss", "model")  # of the kept history
    second = (await client.post("/recommend", json=body)).json()
    assert anew["items"] == second["items"] != first["items"]
    kept = (await client.get("/users/anna/recommendations?k=5")).json()
    assert (kept["cache"], kept["items"]) == ("hit", second["items"])

    await change(client, "rollback")
    kept = (await client.get("/users/anna/recommendations?k=5")).json()
    # The history that was posted meanwhile took all that was made of the one before with it.
    assert (kept["cache"], kept["items"]) == ("miss", first["items"])


def rewrite(bundle: Path, name: str, content: bytes) -> None:
    """Change a file and make the manifest agree: what a careful forger or a broken trainer does."""
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["files"][name] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
    }
    republish(bundle, orjson.dumps(manifest))


def republish(bundle: Path, manifest: bytes) -> None:
    """Let CURRENT name the bundle with another first page, under the name that goes with it."""
    (bundle / "manifest.json").write_bytes(manifest)
    renamed = f"{bundle.name.split('-')[0]}-{hashlib.sha256(manifest).hexdigest()[:8]}"
    bundle.rename(bundle.parent / renamed)
    (bundle.parent / "CURRENT").write_text(renamed)


def copy_half(bundle: Path) -> None:
    (bundle / "canaries.json").unlink()


def cut_short(bundle: Path) -> None:
    weights = (bundle / "model.safetensors").read_bytes()
    (bundle / "model.safetensors").write_bytes(weights[: len(weights) // 2])


def flip_a_bit(bundle: Path) -> None:
    weights = bytearray((bundle / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "model.safetensors").write_bytes(weights)


def write_in_a_newer_format(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    republish(bundle, orjson.dumps(manifest | {"format_version": 99}))


def spoil_a_weight(value: float) -> Callable[[Path], None]:
    def spoil(bundle: Path) -> None:
        path = bundle / "model.safetensors"
        weights = load_file(path)
        name = next(name for name, array in weights.items() if array.ndim == 2)
        weights[name] = weights[name].copy()
        weights[name][0, 0] = np.float32(value)
        catalog = hashlib.sha256((bundle / "catalog.json").read_bytes()).hexdigest()
        save_file(weights, path, {"catalog_sha256": catalog})
        rewrite(bundle, path.name, path.read_bytes())

    return spoil


def change_a_canary(bundle: Path) -> None:
    canaries = json.loads((bundle / "canaries.json").read_bytes())
    canaries[0]["scores"][0] += 1
    rewrite(bundle, "canaries.json", orjson.dumps(canaries))


def remove_all(bundle: Path) -> None:
    shutil.rmtree(bundle)


HARM: dict[str, tuple[Callable[[Path], None], str]] = {
    "half copied": (copy_half, "CheckpointMissingError"),
    "not there": (remove_all, "CheckpointMissingError"),
    "cut short": (cut_short, "CheckpointTruncatedError"),
    "corrupt": (flip_a_bit, "CheckpointDigestError"),
    "newer format": (write_in_a_newer_format, "CheckpointTooNewError"),
    "NaN": (spoil_a_weight(float("nan")), "CheckpointNotFiniteError"),
    "infinite": (spoil_a_weight(float("-inf")), "CheckpointNotFiniteError"),
    "other answers": (change_a_canary, "CanaryMismatchError"),
}


@pytest.mark.parametrize("harm", HARM)
async def test_a_bad_bundle_is_refused_by_name_and_the_old_model_answers_on(
    client: httpx.AsyncClient,
    folder: Path,
    write_bundle: WriteBundle,
    caplog: pytest.LogCaptureFixture,
    harm: str,
) -> None:
    old = await version(client)
    spoil, reason = HARM[harm]
    spoil(write_bundle(folder, NUM_ITEMS, name="films", seed=1))
    answer = await change(client, "reload")
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/reload-refused"
    assert answer.json()["detail"].startswith(f"{reason}: ")
    (told,) = caplog.records
    assert told.getMessage().startswith(f"reload refused: {reason}: ")
    assert told.__dict__["fields"] == {"model": "films", "answers_on": old}
    page = (await client.get("/metrics")).text
    assert reloads(page) == {("refused", reason): 1}
    assert await version(client) == old
    assert (await client.get("/readyz")).status_code == 200
    assert (await change(client, "rollback")).status_code == 409


async def test_a_bundle_that_breaks_a_library_is_refused_too(
    client: httpx.AsyncClient,
    folder: Path,
    write_bundle: WriteBundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = await version(client)
    write_bundle(folder, NUM_ITEMS, name="films", seed=1)

    def run_out(*_: object) -> None:
        raise MemoryError("no room for this one")

    monkeypatch.setattr("service.deployment._warm_up", run_out)
    answer = await change(client, "reload")
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "MemoryError: no room for this one",
    )
    assert await version(client) == old


async def test_current_is_watched_and_a_copy_that_takes_its_time_ends_as_a_whole_one(
    running: Running, folder: Path, write_bundle: WriteBundle
) -> None:
    async with running(model_dir=folder, reload_poll_s=0.02) as client:
        old = await version(client)
        new = write_bundle(folder, NUM_ITEMS, name="films", seed=1)
        canaries = (new / "canaries.json").read_bytes()
        (new / "canaries.json").unlink()
        await asyncio.sleep(0.2)
        assert await version(client) in {old, new.name}  # it may have been read while whole
        (new / "canaries.json").write_bytes(canaries)
        for _ in range(500):
            if await version(client) == new.name:
                break
            await asyncio.sleep(0.01)
        assert await version(client) == new.name
        refused = sum(
            count
            for (outcome, _), count in reloads((await client.get("/metrics")).text).items()
            if outcome == "refused"
        )
        assert refused <= 2  # once for each state that was seen, not at every look


async def test_a_rollback_is_not_undone_by_the_next_look_at_current(
    running: Running, folder: Path, write_bundle: WriteBundle
) -> None:
    chosen = {"model_dir": folder, "reload_poll_s": 0.02, "admin_keys_sha256": ADMIN_KEYS}
    async with running(**chosen) as client:
        old = await version(client)
        write_bundle(folder, NUM_ITEMS, name="films", seed=1)
        await change(client, "reload")
        await change(client, "rollback")
        await asyncio.sleep(0.2)
        assert await version(client) == old
