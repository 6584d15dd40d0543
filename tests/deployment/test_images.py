"""The two images: what their files promise on paper."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = [ROOT / "Dockerfile", ROOT / "docker/trainer.Dockerfile"]
# Nobody imports these by name: uvicorn chooses them.
CHOSEN_BY_NAME = {"uvloop", "httptools"}
IMPORT_NAMES = {"fastapi-offline": "fastapi_offline", "prometheus-client": "prometheus_client"}

every_image = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", "").splitlines()
    pairs = (line.strip().partition(" ") for line in lines if line.strip())
    return [(name.upper(), argument.strip()) for name, _, argument in pairs]


def stages(dockerfile: Path) -> list[list[tuple[str, str]]]:
    """Give the instructions of each stage; first those before all stages, last what is shipped."""
    parts: list[list[tuple[str, str]]] = [[]]
    for name, argument in instructions(dockerfile):
        if name == "FROM":
            parts.append([])
        parts[-1].append((name, argument))
    return parts


def shipped(dockerfile: Path, wanted: str) -> list[str]:
    return [argument for name, argument in stages(dockerfile)[-1] if name == wanted]


def for_training_alone() -> set[str]:
    (command,) = (text for name, text in stages(DOCKERFILES[0])[1] if name == "RUN")
    named = re.search(r"grep -E '\^\(([\w|]+)\)", command)
    assert named
    return set(named[1].split("|"))


def imported_by_the_service() -> set[str]:
    names: set[str] = set()
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names


def test_the_serving_image_installs_what_the_service_imports_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = {re.split(r"[<>=~!;\[ ]", line)[0] for line in project["dependencies"]}
    served = every - for_training_alone() - CHOSEN_BY_NAME
    modules = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in served}
    imported = imported_by_the_service()
    assert modules <= imported
    assert not for_training_alone() & imported


@every_image
def test_an_image_starts_a_program_and_no_shell(path: Path) -> None:
    (entrypoint,) = shipped(path, "ENTRYPOINT")
    expected = {"Dockerfile": ["python", "-m", "service"], "trainer.Dockerfile": ["foldin"]}
    assert json.loads(entrypoint) == expected[path.name]


def test_both_images_run_as_the_same_user_who_is_not_root() -> None:
    (api_user,), (trainer_user,) = (shipped(path, "USER") for path in DOCKERFILES)
    # By number: an orchestrator can then prove that it is not root.
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", api_user)
    # What the trainer writes into the volume, the service must be able to read.
    assert api_user == trainer_user


def test_both_images_share_the_layer_of_the_dependencies() -> None:
    # Equal instructions are equal layers: torch is installed, stored and pushed once.
    of_service, of_trainer = map(stages, DOCKERFILES)
    assert of_service[:3] == of_trainer[:3]
    for ours, theirs in ((of_service, of_trainer), (of_trainer, of_service)):
        until = [name for name, _ in ours[-1]].index("COPY")
        assert ours[-1][: until + 1] == theirs[-1][: until + 1]
        assert ours[-1][until] == ("COPY", "--from=dependencies /opt/foldin /opt/foldin")


@every_image
def test_the_code_comes_after_all_that_changes_less_often(path: Path) -> None:
    copies = shipped(path, "COPY")
    assert copies[0].startswith("--from=dependencies")
    assert copies[-1].startswith(("--from=code", "--from=wheel"))
    # pyproject.toml changes more often than the lists that are made of it.
    for part in stages(path)[2:3]:
        assert not [text for name, text in part if name == "COPY" and "pyproject" in text]


def test_the_service_is_healthy_when_it_is_ready() -> None:
    (check,) = shipped(DOCKERFILES[0], "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[0] == "python"
    assert "/readyz" in command[-1]


@every_image
def test_an_image_says_what_it_is(path: Path) -> None:
    (label,) = shipped(path, "LABEL")
    keys = re.findall(r"org\.opencontainers\.image\.(\w+)=", label)
    assert keys == ["title", "description", "licenses", "version"]


@every_image
def test_every_variable_is_a_setting_of_the_service(path: Path) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert set(re.findall(rf"{PREFIX}\w+", path.read_text())) <= known


def test_images_are_built_from_the_packages_alone() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert let_in == {"pyproject.toml", "README.md", "LICENSE", "service", "training"}
