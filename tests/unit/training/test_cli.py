"""The command as a user meets it: what it prints, what it writes, how it fails."""

import json
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import polars as pl
import pytest

from service.settings import Settings
from training import cli
from training.progress import TrainingProgress
from training.verbs import bundles
from training.verbs import demo as verb_demo

Foldin = Callable[..., int]


@pytest.fixture
def foldin(monkeypatch: pytest.MonkeyPatch) -> Foldin:
    """Run ``foldin ARGUMENTS`` in this process and give the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["foldin", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    return run


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Write ratings of 60 users, 8 films each, two of them disliked, with titles beside them."""
    ratings = pl.DataFrame(
        [
            {"uid": user, "film": (user * 3 + place * 5) % 40, "rating": 2.0 if place < 2 else 5.0}
            for user in range(60)
            for place in range(8)
        ]
    )
    ratings.write_csv(tmp_path / "ratings.csv")
    films = pl.DataFrame({"film": range(40), "title": [f"Film {film}" for film in range(40)]})
    films.write_csv(tmp_path / "films.csv")
    return tmp_path / "ratings.csv"


def test_what_one_process_does_is_refused_to_several(
    foldin: Foldin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert foldin("compare", "log.csv", "--models", "ease") == 2
    assert "torchrun is for train: run `foldin compare` without it" in capsys.readouterr().err


def small(log: Path) -> list[object]:
    shape = ["--set", "latent_dim=8", "--epochs", 2, "--threads", 1]
    return [log, "--columns", "user_id=uid,item_id=film", *shape]


def test_a_model_goes_from_a_log_to_a_verified_measured_bundle(
    foldin: Foldin, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, record = tmp_path / "models", tmp_path / "records" / "run.json"
    columns = ["--columns", "user_id=uid,item_id=film"]
    options = ["--items", tmp_path / "films.csv", "--model", "cdae", "--json", record]
    assert foldin("train", *small(log), *options, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "ratings >= 4 count as positive" in printed
    assert "popularity" in printed
    assert "users/s" in printed
    written = json.loads(record.read_text())
    assert written["config"]["architecture"]["latent_dim"] == 8
    assert written["epochs"] == 2
    assert Path(written["checkpoint"]).is_dir()

    assert foldin("verify", out) == 0
    assert "canaries answered" in capsys.readouterr().out

    assert foldin("inspect", out) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["architecture"] == "cdae"
    assert shown["metrics"]["test"] == written["test"]

    figures = tmp_path / "figures.json"
    assert foldin("evaluate", out, log, *columns, "--json", figures) == 0
    assert json.loads(figures.read_text())["all"]["ndcg@100"] == written["test"]["ndcg@100"]


def test_a_variational_model_says_which_of_its_dimensions_are_in_use(
    foldin: Foldin, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, record = tmp_path / "models", tmp_path / "run.json"
    options = ["--model", "multvae", "--set", "anneal_fraction=0", "--json", record]
    assert foldin("train", *small(log), *options, "--out", out) == 0
    told = json.loads(record.read_text())
    printed = f"{told['active_dimensions']} of 8 latent dimensions are active (KL > 0.01)"
    assert printed in capsys.readouterr().out
    assert foldin("inspect", out) == 0
    shown = json.loads(capsys.readouterr().out)["metrics"]["posterior"]
    assert shown["active_dimensions"] == told["active_dimensions"] > 0
    most = told["kl_per_dimension"][0]
    assert shown["active_kl"].startswith(f"{most['dimension']}: {most['kl']:.3f}")
    assert shown["active_kl"].count(":") == told["active_dimensions"]


@pytest.mark.parametrize("verb", ["train", "tune"])
def test_settings_of_another_model_are_refused(
    foldin: Foldin, log: Path, tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text('model = "multvae"\nlatent_dim = 5\n')
    command = [verb, log, "--config", config, "--out", tmp_path / "out"]
    assert foldin(*command, "--model", "cdae") == 2
    error = capsys.readouterr().err
    assert error == "foldin: the settings are of the model 'multvae', and --model is 'cdae'\n"
    assert not (tmp_path / "out").exists()


def test_settings_come_from_the_file_then_from_set_then_from_the_options(
    foldin: Foldin, log: Path, tmp_path: Path
) -> None:
    config, record = tmp_path / "run.toml", tmp_path / "run.json"
    config.write_text('model = "multvae"\nepochs = 9\nlatent_dim = 5\nbatch_size = 7\nseed = 4\n')
    more = ["--config", config, "--set", "batch_size=11", "--model", "multvae", "--json", record]
    assert foldin("train", *small(log), *more, "--out", tmp_path / "models") == 0
    written = json.loads(record.read_text())["config"]
    assert written["epochs"] == 2
    assert written["batch_size"] == 11
    assert written["seed"] == 4
    assert written["architecture"]["latent_dim"] == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "gone.csv", "--model", "cdae", "--out", "x"], "gone.csv"),
        (["train", "LOG", "--model", "cdea", "--out", "x"], "unknown model 'cdea'"),
        (["train", "LOG", "--model", "cdae", "--out", "x"], "user_id"),
        (["train", "LOG", "--model", "cdae", "--out", "x", "--set", "a"], "key=value"),
        (["train", "LOG", "--model", "cdae", "--out", "x", "--set", "size=3"], "no setting 'size'"),
        (["train", "LOG", "--model", "cdae", "--out", "x", "--columns", "user_id"], "--columns"),
        (["train", "LOG", "--model", "cdae", "--out", "x", "--epochs", "0"], "epochs"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    foldin: Foldin,
    log: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [str(log) if argument == "LOG" else argument for argument in arguments]
    assert foldin(*filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("epoch", [1, 2])
def test_ctrl_c_ends_with_code_one_and_a_run_that_had_an_epoch_can_be_resumed(
    foldin: Foldin,
    log: Path,
    epoch: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, seen = log.parent / "models", count(1)
    command = ["train", *small(log), "--model", "cdae", "--out", out]

    def interrupted(self: TrainingProgress, users: float) -> None:
        del self, users
        if next(seen) >= epoch:  # one step an epoch: 48 users
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "on_step", interrupted)
        assert foldin(*command) == 1
    printed = capsys.readouterr()
    assert "interrupted" in printed.out + printed.err
    assert "Traceback" not in printed.err
    assert (out / "CURRENT").exists() == (epoch == 2)
    if epoch == 2:
        assert "train --resume goes on" in printed.out
    assert foldin(*command, *(["--resume"] if epoch == 2 else [])) == 0


@pytest.mark.parametrize("verb", ["verify", "inspect"])
def test_no_bundle_is_one_line_and_exit_code_one(
    foldin: Foldin, tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foldin(verb, tmp_path) == 1
    assert "CURRENT" in capsys.readouterr().err


@pytest.mark.parametrize("first", [True, False])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    foldin: Foldin, tmp_path: Path, first: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["verify", tmp_path]
    assert foldin(*(["--debug", *command] if first else [*command, "--debug"])) == 1
    assert "Traceback" in capsys.readouterr().err


def test_evaluate_splits_as_the_training_did_and_says_when_the_data_is_other(
    foldin: Foldin, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, record, figures = tmp_path / "models", tmp_path / "run.json", tmp_path / "figures.json"
    options = ["--model", "cdae", "--protocol", "weak", "--json", record, "--out", out]
    assert foldin("train", *small(log), *options, "--positive-threshold", 1) == 0
    columns = ["--columns", "user_id=uid,item_id=film"]
    assert foldin("evaluate", out, log, *columns, "--json", figures) == 0
    assert "not the data" not in capsys.readouterr().out
    expected = json.loads(record.read_text())["test"]
    assert json.loads(figures.read_text())["all"] == expected
    assert foldin("evaluate", out, log, *columns, "--protocol", "strong") == 0
    assert "not the data and split of the training" in capsys.readouterr().out


def test_evaluate_on_items_that_the_model_lacks_is_an_error(
    foldin: Foldin, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foldin("train", *small(log), "--model", "cdae", "--out", tmp_path / "models") == 0
    other = tmp_path / "other.csv"
    other.write_text(log.read_text().replace("film,", "item,").replace(",film", ",item"))
    frame = pl.read_csv(log).with_columns(film=pl.col("film") + 1000)
    frame.write_csv(other)
    columns = ["--columns", "user_id=uid,item_id=film"]
    assert foldin("evaluate", tmp_path / "models", other, *columns) == 2
    assert "no test user has a target" in capsys.readouterr().err


def test_what_would_fail_after_the_training_is_refused_before_it(
    foldin: Foldin, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foldin("train", *small(log), "--model", "cdae", "--out", log) == 2
    assert "is a file; name a folder" in capsys.readouterr().err
    options = ["--model", "cdae", "--out", tmp_path / "models", "--json", tmp_path]
    assert foldin("train", *small(log), *options) == 2
    assert "is a folder; name a file" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_cuda_without_cuda_is_bad_input(
    foldin: Foldin, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    options = ["--model", "cdae", "--out", tmp_path / "models", "--device", "cuda"]
    assert foldin("train", *small(log), *options) == 2


@pytest.mark.parametrize("verb", ["demo", "train", "evaluate", "inspect", "verify", "serve"])
def test_every_verb_explains_itself(
    foldin: Foldin, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foldin(verb, "--help") == 0
    shown = capsys.readouterr().out
    assert "Usage" in shown
    if verb == "train":
        assert "[one per core]" in " ".join(shown.split())


def test_the_demo_trains_and_serves_what_it_trained(
    foldin: Foldin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served: list[Settings] = []
    monkeypatch.setattr(verb_demo, "run_service", served.append)
    assert foldin("demo", "--epochs", 1, "--out", tmp_path, "--port", 8123) == 0
    assert served[0].model_dir == tmp_path
    assert served[0].port == 8123
    assert "http://127.0.0.1:8123" in capsys.readouterr().out
    assert foldin("demo", "--epochs", 1, "--out", tmp_path, "--no-serve") == 0
    assert len(served) == 1


def test_serve_passes_its_options_on_and_leaves_the_rest_to_the_environment(
    foldin: Foldin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Settings] = []
    monkeypatch.setattr(bundles, "run_service", served.append)
    monkeypatch.setenv("FOLDIN_PORT", "8790")
    monkeypatch.setenv("FOLDIN_WORKERS", "3")
    assert foldin("serve", tmp_path, "--workers", 2, "--device", "cpu") == 0
    assert (served[0].port, served[0].workers, served[0].device) == (8790, 2, "cpu")
