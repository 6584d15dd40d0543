"""The file of a search: what it holds, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from training.errors import BadInputError
from training.search_spaces import Choice, Real, Space, Whole
from training.study import chosen, distribution_of, label, open_study, outcomes_of

SPACE: Space = {
    "learning_rate": Real(1e-4, 1e-2, log=True),
    "latent_dim": Whole(4, 64),
    "hidden_dims": Choice(([8], [16, 8])),
    "loss": Choice(("logistic", "multinomial")),
}
SETTINGS: dict[str, Any] = {"model": "multvae", "epochs": 3}


def opened(storage: Path, **other: Any) -> Any:  # noqa: ANN401 - the arguments of open_study
    how = {"fingerprint": "f", "settings": SETTINGS, "space": SPACE, "direction": "maximize"}
    return open_study(storage, **(how | other))


def test_parameters_and_settings_are_the_same_in_two_words() -> None:
    params = {"learning_rate": 0.001, "latent_dim": 8, "hidden_dims": "[16,8]", "loss": "logistic"}
    for name, value in params.items():
        assert distribution_of(SPACE[name]).to_internal_repr(value) is not None
    assert chosen(SPACE, params) == params | {"hidden_dims": [16, 8]}
    assert label(True) is True


def test_finished_trials_are_numbered_and_unfinished_ones_passed_over(tmp_path: Path) -> None:
    study = opened(tmp_path / "study.jsonl")
    params: dict[str, Any] = {"latent_dim": 8}
    within = {"latent_dim": distribution_of(SPACE["latent_dim"])}
    facts = {"preset": True, "seconds": 1}
    study.add_trial(create_trial(value=0.5, user_attrs=facts, params=params, distributions=within))
    study.ask()  # killed: it stays as if it ran
    study.add_trial(create_trial(state=TrialState.FAIL))  # Ctrl-C
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"reason": "the loss is nan"}))
    study.add_trial(create_trial(value=0.4, params=params, distributions=within))
    preset, failed, other = outcomes_of(opened(tmp_path / "study.jsonl"), SPACE)
    assert (preset.number, preset.state, preset.value, preset.settings) == (0, "complete", 0.5, {})
    assert preset.facts == {"seconds": 1}
    assert (failed.number, failed.state, failed.value) == (1, "failed", None)
    assert (other.number, other.settings) == (2, {"latent_dim": 8})


def test_one_file_holds_studies_of_several_models(tmp_path: Path) -> None:
    opened(tmp_path / "s" / "study.jsonl").add_trial(create_trial(value=0.5))
    cdae = {"model": "cdae", "epochs": 7}
    assert opened(tmp_path / "s" / "study.jsonl", settings=cdae).trials == []
    assert len(opened(tmp_path / "s" / "study.jsonl").trials) == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"fingerprint": "g"}, "a study of multvae on other data"),
        ({"settings": {**SETTINGS, "epochs": 4, "seed": 1}}, r"other settings \(epochs, seed\)"),
        ({"space": {**SPACE, "latent_dim": Whole(4, 65)}}, r"other space \(latent_dim\)"),
    ],
)
def test_a_study_of_something_else_is_refused(
    tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    opened(tmp_path / "study.jsonl")
    before = (tmp_path / "study.jsonl").read_bytes()
    with pytest.raises(BadInputError, match=message):
        opened(tmp_path / "study.jsonl", **other)
    assert (tmp_path / "study.jsonl").read_bytes() == before


def test_device_and_threads_may_change_between_starts(tmp_path: Path) -> None:
    opened(tmp_path / "study.jsonl", settings={**SETTINGS, "threads": 1})
    opened(tmp_path / "study.jsonl", settings={**SETTINGS, "threads": 2, "device": "cpu"})


@pytest.mark.parametrize("content", ["epochs = 3\n", "{\n}\n{", '{"op_code": 0}\n{"op_code": 0}\n'])
def test_a_file_that_is_no_study_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(content)
    with pytest.raises(BadInputError, match=r"run\.toml"):
        opened(path)
    assert path.read_text() == content


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is a folder"):
        opened(tmp_path)
