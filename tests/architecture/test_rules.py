"""Rules of the project that a machine can check."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("service/**/*.py"), *ROOT.glob("training/**/*.py")])
TOP_LEVEL = {
    "pyproject.toml",
    "service",
    "training",
    "tests",
    "docker",
    "Dockerfile",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
}
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[FunctionNode]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, FunctionNode):
            yield node


def body_lines(function: FunctionNode) -> int:
    docstring = ast.get_docstring(function) or ""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    return total - (len(docstring.splitlines()) + 1 if docstring else 0)


def test_the_import_law_holds() -> None:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports; exit(lint_imports())",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    if text.strip():
        assert ast.get_docstring(ast.parse(text))


def test_no_function_is_longer_than_forty_lines() -> None:
    long_functions = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path in SOURCES
        if path.parent.name != "verbs"  # Typer: one argument an option, and its help beside it
        for function in functions(path)
        if body_lines(function) > 40
    ]
    assert not long_functions


def test_nothing_can_unpickle() -> None:
    forbidden = ("import pickle", "import joblib", "import dill", "torch.load(", "read_pickle")
    guilty = [path for path in SOURCES if any(word in path.read_text() for word in forbidden)]
    assert not guilty


def test_the_top_level_holds_what_is_agreed() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {entry for entry in top if not entry.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize("room", ["service", "training"])
def test_the_file_map_of_the_readme_names_every_file(room: str) -> None:
    readme = (ROOT / "README.md").read_text()
    files = [
        path
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] == room and path.name != "__init__.py"
    ]
    missing = [str(path.relative_to(ROOT)) for path in files if f"`{path.name}`" not in readme]
    assert not missing


def test_the_readme_holds_no_placeholder() -> None:
    assert not re.findall(r"\b[A-Z]+_ROWS?\b|TODO|TBD", (ROOT / "README.md").read_text())
