from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service import checkpoint
from service.histories import History
from service.inference.engine import Engine, Job, Outcome
from service.ranker import ModelRanker
from service.retrieval.base import Wanted

TinyBundle = Callable[..., Path]


def engine_of(model_dir: Path) -> Engine:
    model = checkpoint.load(model_dir, torch.device("cpu")).model
    return Engine(ModelRanker(model))


def posted(items: list[int], k: int = 30, user_index: int = -1) -> Job:
    hidden = np.array(items, dtype=np.int64)
    return Job(Wanted(k, hidden), history=History.of(items), user_index=user_index)


def kept(outcome: Outcome, job: Job) -> Job:
    return Job(job.wanted, latent_D=outcome.latent_D)


def assert_same(found: Outcome, expected: Outcome) -> None:
    np.testing.assert_allclose(found.latent_D, expected.latent_D, atol=1e-5)
    np.testing.assert_array_equal(found.top.item_index_K, expected.top.item_index_K)
    np.testing.assert_allclose(found.top.score_K, expected.top.score_K, atol=1e-5)


@pytest.mark.parametrize("architecture", ["multvae", "cdae"])
def test_a_row_of_a_mixed_batch_is_the_row_alone(
    tiny_bundle: TinyBundle, architecture: str
) -> None:
    engine = engine_of(tiny_bundle(architecture))
    jobs = [posted([5, 1]), posted([]), posted(list(range(30))), posted([7, 8, 9], k=3)]
    alone = [engine.run([job])[0] for job in jobs]
    mixed = [jobs[0], kept(alone[3], jobs[3]), jobs[2], kept(alone[0], jobs[0]), jobs[1]]
    for found, row in zip(engine.run(mixed), [0, 3, 2, 0, 1], strict=True):
        assert_same(found, alone[row])


def test_a_kept_latent_gives_the_list_of_its_history(tiny_bundle: TinyBundle) -> None:
    engine = engine_of(tiny_bundle())
    job = posted([3, 14, 15])
    (first,) = engine.run([job])
    (again,) = engine.run([kept(first, job)])
    assert_same(again, first)


def test_a_latent_that_cannot_be_written_to_is_decoded_without_a_warning(
    tiny_bundle: TinyBundle,
) -> None:
    engine = engine_of(tiny_bundle())
    latent_D: NDArray[np.float32] = np.frombuffer(np.ones(4, dtype=np.float32).tobytes(), "f4")
    (outcome,) = engine.run([Job(Wanted(5, np.empty(0, dtype=np.int64)), latent_D=latent_D)])
    np.testing.assert_array_equal(outcome.latent_D, latent_D)


def test_the_order_of_a_history_does_not_change_a_bit(tiny_bundle: TinyBundle) -> None:
    engine = engine_of(tiny_bundle())
    (forward,) = engine.run([posted([2, 11, 23, 4])])
    (backward,) = engine.run([posted([4, 23, 11, 2])])
    assert forward.latent_D.tobytes() == backward.latent_D.tobytes()
    assert forward.top.score_K.tobytes() == backward.top.score_K.tobytes()


def test_a_user_with_a_row_of_their_own_gets_other_scores(tiny_bundle: TinyBundle) -> None:
    engine = engine_of(tiny_bundle("cdae"))
    unknown, first, second = engine.run([posted([1], user_index=row) for row in (-1, 0, 1)])
    assert not np.allclose(unknown.latent_D, first.latent_D)
    assert not np.allclose(first.latent_D, second.latent_D)


def test_latents_of_a_batch_do_not_share_memory(tiny_bundle: TinyBundle) -> None:
    # A kept latent of 4 numbers would else keep the whole batch in memory.
    first, second = engine_of(tiny_bundle()).run([posted([1]), posted([2])])
    assert first.latent_D.base is None
    assert not np.shares_memory(first.latent_D, second.latent_D)


@pytest.mark.parametrize(
    ("history", "latent_D"), [(None, None), (History.of([1]), np.zeros(4, dtype=np.float32))]
)
def test_a_job_carries_either_a_history_or_a_latent(
    history: History | None, latent_D: NDArray[np.float32] | None
) -> None:
    with pytest.raises(ValueError, match="either a history or a latent"):
        Job(Wanted(1, np.empty(0, dtype=np.int64)), history, latent_D)


# Models whose answers need the history itself: nothing stands for it.
KEEPS_HISTORY = ["ease", "edlae"]


@pytest.mark.parametrize("architecture", KEEPS_HISTORY)
def test_of_a_model_that_keeps_histories_the_weights_are_what_is_kept(
    tiny_bundle: TinyBundle, architecture: str
) -> None:
    engine = engine_of(tiny_bundle(architecture))
    history = History.of([9, 2, 4], [3.0, 0.5, 1.0])
    job = Job(Wanted(30, history.item_index_N), history=history)
    (first,) = engine.run([job])
    assert first.latent_D.tolist() == [0.5, 1.0, 3.0]
    again = Job(job.wanted, history=History(history.item_index_N, first.latent_D))
    (second,) = engine.run([again])
    assert second.top.item_index_K.tobytes() == first.top.item_index_K.tobytes()
    assert second.top.score_K.tobytes() == first.top.score_K.tobytes()


@pytest.mark.parametrize("architecture", KEEPS_HISTORY)
def test_a_history_alone_is_bit_for_bit_the_history_in_a_batch(
    tiny_bundle: TinyBundle, architecture: str
) -> None:
    engine = engine_of(tiny_bundle(architecture))
    jobs = [posted([5, 1]), posted([]), posted(list(range(30))), posted([7, 8, 9], k=3)]
    for job, found in zip(jobs, engine.run(jobs), strict=True):
        (alone,) = engine.run([job])
        assert found.top.item_index_K.tobytes() == alone.top.item_index_K.tobytes()
        assert found.top.score_K.tobytes() == alone.top.score_K.tobytes()
