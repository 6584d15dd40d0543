"""The runs of a comparison, kept in a file so that none is lost and none is made twice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from training.comparison.contender import Contender
from training.comparison.run import Run, identity
from training.data.datasets import Dataset
from training.errors import BadInputError


@final
class DataFacts(BaseModel):
    """Which data was compared on, and how large it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    protocol: str
    train_users: int
    items: int
    train_interactions: int
    valid_users: int
    valid_users_without_target: int
    test_users: int
    test_users_without_target: int

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Tell about a data set; users without a target are counted apart."""
        split = dataset.split
        valid_without, test_without = split.valid.num_without_target, split.test.num_without_target
        return cls(
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            protocol=split.protocol,
            train_users=split.train.shape[0],
            items=split.train.shape[1],
            train_interactions=split.train.nnz,
            valid_users=len(split.valid.user_ids) - valid_without,
            valid_users_without_target=valid_without,
            test_users=len(split.test.user_ids) - test_without,
            test_users_without_target=test_without,
        )


@final
class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a summary, which is made anew

    data: DataFacts
    runs: tuple[Run, ...]


@final
class Journal:
    """Runs on one data set, in memory and, if it has a path, in a file that follows."""

    def __init__(self, data: DataFacts, path: Path | None = None, runs: Sequence[Run] = ()) -> None:
        self.data = data
        self.runs = list(runs)
        self._path = path

    @classmethod
    def open(cls, dataset: Dataset, path: Path | None) -> Self:
        """Go on with the runs of a file, if it is there.

        Raises:
            BadInputError: It holds something else, or runs on other data.
        """
        data = DataFacts.of(dataset)
        if path is None or not path.exists():
            return cls(data, path)
        try:
            there = _File.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise BadInputError(
                f"{path} is there and is no record of a comparison; name another file"
            ) from error
        if there.data.fingerprint != data.fingerprint:
            raise BadInputError(
                f"{path} compares on other data or another split ({there.data.name}); "
                f"name another file"
            )
        return cls(data, path, there.runs)

    def find(self, contender: Contender, seed: int) -> Run | None:
        """Give the run of a contender under a seed; one that failed may be tried again."""
        fits = (run for run in self.runs if not run.failed and run.repeats(contender, seed))
        return next(fits, None)

    def of(self, contender: Contender) -> list[Run]:
        """Give the runs of a contender, whatever the seed."""
        return [run for run in self.runs if run.identity == identity(contender)]

    def add(self, run: Run) -> None:
        """Keep a run; what the model had under this seed, or under other settings, goes."""
        self.runs = [
            other
            for other in self.runs
            if other.model != run.model
            or (other.seed != run.seed and other.identity == run.identity)
        ]
        self.runs.append(run)

    def write(self, summary: Sequence[Mapping[str, Any]]) -> None:
        """Write all runs and their summary, in one rename; without a path do nothing."""
        if self._path is None:
            return
        record = {
            "data": self.data.model_dump(mode="json"),
            "summary": list(summary),
            "runs": [run.model_dump(mode="json") for run in self.runs],
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        staged = self._path.with_name(f"{self._path.name}.new")
        staged.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
        staged.replace(self._path)
