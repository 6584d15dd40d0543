"""Whatever the bytes of a bundle are, loading ends soon: with a model, or with a named error."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service import canaries, checkpoint
from service.errors import CheckpointError
from service.ranker import ModelRanker

FILES = ("manifest.json", "model.safetensors", "catalog.json", "canaries.json", "users.json")
# A sparse item-item matrix; and two models in one, one of them with rows of users.
ARCHITECTURES = ("ease", "hybrid")
# What a parser trips over: brackets without end, numbers without end, no UTF-8, huge lengths.
SNARES = (
    b"[" * 5000,
    b'{"a":' * 3000,
    b"9" * 5000,
    b"1e999",
    b"-1",
    b"NaN",
    b"null",
    b'"\\ud800"',
    b"\xff\xfe",
    b"\0" * 8,
    b"\xff" * 8,
    b"",
)
EXAMPLES = settings(
    max_examples=50,
    deadline=5000,  # milliseconds an example: a hang is a failure
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],
)
MANY = settings(EXAMPLES, max_examples=3000)

snares = st.sampled_from(SNARES) | st.binary(max_size=40)
# Where, as a share of the file's length; how many bytes go; what comes instead.
cuts = st.tuples(st.floats(0, 1), st.integers(0, 60), snares)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def bundle(
    request: pytest.FixtureRequest,
    write_bundle: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    user_ids = ("u0", "u1") if request.param == "hybrid" else ()
    folder = tmp_path_factory.mktemp("hostile")
    return write_bundle(folder, 30, request.param, user_ids=user_ids)


def outcome(path: Path) -> str:
    """Load as the service does; the name of the error, or none."""
    try:
        loaded = checkpoint.load(path)
        canaries.replay(ModelRanker(loaded.model), loaded.canaries)
    except CheckpointError as error:
        return type(error).__name__
    return ""


def forge(bundle: Path, name: str, change: Callable[[bytes], bytes]) -> str:
    """Change a file, let the manifest agree with it, and load."""
    with tempfile.TemporaryDirectory() as folder:
        forged = Path(folder) / "bundle"
        shutil.copytree(bundle, forged)
        content = change((forged / name).read_bytes())
        (forged / name).write_bytes(content)
        if name != "manifest.json":
            _let_manifest_agree(forged, name, content)
        return outcome(forged)


def _let_manifest_agree(forged: Path, name: str, content: bytes) -> None:
    manifest = json.loads((forged / "manifest.json").read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][name] = {"sha256": digest, "size_bytes": len(content)}
    (forged / "manifest.json").write_text(json.dumps(manifest))


def spliced(content: bytes, cut: tuple[float, int, bytes]) -> bytes:
    share, length, put = cut
    start = round(share * len(content))
    return content[:start] + put + content[start + length :]


def present(bundle: Path, name: str) -> str:
    return name if (bundle / name).exists() else "canaries.json"


def mutated_anywhere(bundle: Path, name: str, cut: tuple[float, int, bytes]) -> None:
    forge(bundle, present(bundle, name), lambda content: spliced(content, cut))


@given(name=st.sampled_from(FILES), cut=cuts)
@EXAMPLES
def test_forged_bytes_give_a_model_or_a_named_error(
    bundle: Path, name: str, cut: tuple[float, int, bytes]
) -> None:
    mutated_anywhere(bundle, name, cut)


@pytest.mark.slow
@given(name=st.sampled_from(FILES), cut=cuts)
@MANY
def test_very_many_forged_bytes_give_a_model_or_a_named_error(
    bundle: Path, name: str, cut: tuple[float, int, bytes]
) -> None:
    mutated_anywhere(bundle, name, cut)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)


def graft(content: bytes, position: int, value: object) -> bytes:
    """Put a value in the place of another, somewhere in a JSON document."""
    document = json.loads(content)
    places = list(_places(document))
    holder, key = places[position % len(places)]
    holder[key] = value
    return json.dumps(document).encode()


def _places(document: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 - any JSON
    pairs: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        pairs = [(document, key) for key in document]
    elif isinstance(document, list):
        pairs = [(document, index) for index in range(len(document))]
    return pairs + [place for holder, key in pairs for place in _places(holder[key])]


@given(
    name=st.sampled_from([name for name in FILES if name.endswith(".json")]),
    position=st.integers(0, 10_000),
    value=JSON_VALUES,
)
@EXAMPLES
def test_a_wrong_value_anywhere_gives_a_model_or_a_named_error(
    bundle: Path, name: str, position: int, value: object
) -> None:
    forge(bundle, present(bundle, name), lambda content: graft(content, position, value))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("snare", SNARES, ids=range(len(SNARES)))
def test_a_file_that_is_nothing_but_a_snare_is_refused(
    bundle: Path, name: str, snare: bytes
) -> None:
    assert forge(bundle, present(bundle, name), lambda _: snare).startswith("Checkpoint")


@given(name=st.sampled_from(FILES[1:]), cut=cuts)
@EXAMPLES
def test_a_change_that_the_manifest_does_not_know_is_always_refused(
    bundle: Path, name: str, cut: tuple[float, int, bytes]
) -> None:
    name = present(bundle, name)
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "bundle"
        shutil.copytree(bundle, changed)
        before = (changed / name).read_bytes()
        after = spliced(before, cut)
        (changed / name).write_bytes(after)
        assert bool(outcome(changed)) == (after != before)
