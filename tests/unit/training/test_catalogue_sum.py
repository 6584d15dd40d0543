"""The sum over all items holds one block of scores at a time, and gives what the whole would."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from service.checkpoint import build_model
from service.histories import History, HistoryBatch
from training import catalogue_sum
from training.losses import multinomial


def full_multinomial(query_BH: Tensor, vectors_IH: Tensor, bias_I: Tensor, x_BI: Tensor) -> Tensor:
    score_BI = query_BH @ vectors_IH.T + bias_I
    return -(x_BI * functional.log_softmax(score_BI, dim=1)).sum(dim=1)


@pytest.mark.parametrize(
    ("users", "items", "hidden", "width"),
    [
        (7, 5_000, 16, 5_000),  # one block, kept
        (7, 5_000, 16, 1_000),  # even blocks
        (33, 5_001, 16, 1_000),  # the last one has a single item
        (64, 20_000, 32, 1_777),
        (1, 300, 8, 7),
    ],
)
def test_in_single_precision_value_and_gradient_are_within_1e_5_of_the_full_loss(
    users: int, items: int, hidden: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_sum, "MAX_SCORES", width * users)
    chance = torch.Generator().manual_seed(items + users)
    model = build_model("cdae", {"latent_dim": hidden}, items, 0)
    torch.nn.init.normal_(model.item_bias_I, generator=chance)
    rows = [
        History.of(torch.randperm(items, generator=chance)[: 5 + row % 40].numpy())
        for row in range(users)
    ]
    batch = HistoryBatch.from_rows(rows)
    x_BI = torch.zeros(users, items)
    x_BI[batch.row_N, batch.item_index_N] = 1
    query_BH = torch.randn(users, hidden, generator=chance).requires_grad_()
    leaves = (query_BH, model.item_vectors_IH, model.item_bias_I)
    found_B = multinomial(query_BH, model, batch)
    expected_B = full_multinomial(*leaves, x_BI)
    torch.testing.assert_close(found_B, expected_B, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad(found_B.mean(), leaves)
    expected = torch.autograd.grad(expected_B.mean(), leaves)
    for ours, theirs in zip(found, expected, strict=True):
        assert ((ours - theirs).norm() / theirs.norm()).item() < 1e-5


def test_scores_of_any_size_stay_finite_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_sum, "MAX_SCORES", 4)
    model = build_model("cdae", {"latent_dim": 2}, 9, 0)
    query_BH = (1e4 * torch.randn(2, 2)).requires_grad_()
    batch = HistoryBatch.from_rows([History.of([1, 8]), History.of([0])])
    loss_B = multinomial(query_BH, model, batch)
    torch.autograd.backward(loss_B.sum())
    assert loss_B.isfinite().all()
    assert model.item_vectors_IH.grad is not None
    assert model.item_vectors_IH.grad.isfinite().all()


# Tells the most memory that a loss and its gradient took beside parameters and their gradient.
MEASURE = """
import sys
import torch
from service.checkpoint import build_model
from service.histories import History, HistoryBatch
from training import catalogue_sum, losses
from training.memory import forget_peak, peak_bytes

torch.set_num_threads(1)
catalogue_sum.MAX_SCORES = 16_000_000  # more than what malloc keeps for later
items, name = int(sys.argv[1]), sys.argv[2]
model = build_model("cdae", {"latent_dim": 16}, items, 0)
batch = HistoryBatch.from_rows([History.of(range(row, row + 20)) for row in range(400)])
query_BH = torch.randn(400, 16, requires_grad=True)
small = build_model("cdae", {"latent_dim": 16}, 100, 0)
losses.LOSSES[name](query_BH, small, batch).sum().backward()  # torch's own first steps
del small
assert forget_peak()
before = peak_bytes()
losses.LOSSES[name](query_BH, model, batch).sum().backward()
print(peak_bytes() - before - items * 17 * 4)
"""


def extra_bytes(items: int, loss: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(items), loss],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a peak of memory start anew")
@pytest.mark.parametrize("loss", ["multinomial", "logistic"])
def test_memory_beside_parameters_and_gradient_does_not_grow_with_the_catalogue(
    loss: str,
) -> None:
    """400 users x 400,000 items are 640 MB of scores: 64 MB are there at a time."""
    few, many = (extra_bytes(items, loss) for items in (100_000, 400_000))
    assert many < 80e6
    assert many - few < 8e6
