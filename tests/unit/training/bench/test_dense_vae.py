"""The dense reference is the same model: same scores, same loss, same gradients."""

import numpy as np
import pytest
import torch

from service.autoencoders.multvae import MultVAE, MultVAEConfig
from service.checkpoint import build_model
from service.histories import HistoryBatch
from training.bench.dense_vae import DenseVAE, dense_lists
from training.bench.subject import Subject, Users, drawn_histories
from training.errors import BadInputError
from training.evaluate import csr_of
from training.losses import multinomial


def test_it_scores_as_the_model_does(subject: Subject) -> None:
    model = subject.loaded.model
    histories = HistoryBatch.from_rows(drawn_histories(subject.loaded, Users(7, 15)))
    dense = DenseVAE.of(model)
    row_BI = torch.from_numpy(csr_of(histories, 400).toarray())
    with torch.no_grad():
        score_BI = dense(row_BI)
    query_BH = model.queries(model.encode(histories))
    expected_BI = query_BH @ model.item_vectors_IH.T + model.item_bias_I
    assert torch.allclose(score_BI, expected_BI, atol=1e-4)


def test_without_dropout_and_noise_its_loss_is_the_shipped_one() -> None:
    config = MultVAEConfig(latent_dim=3, hidden_dims=(6, 5), dropout=0.0)
    model = MultVAE(config, num_items=20)
    with torch.no_grad():
        half = model.posterior.weight.shape[0] // 2
        model.posterior.weight[half:].zero_()
        model.posterior.bias[half:].fill_(-12.0)  # the least noise that the model allows
    rows = np.random.default_rng(0).random((4, 20)) < 0.3
    offset_B1 = np.concatenate([[0], np.cumsum(rows.sum(axis=1))])
    batch = HistoryBatch.from_csr(
        offset_B1, rows.nonzero()[1], np.ones(rows.sum()), np.full(4, -1, dtype=np.int64)
    )
    noisy = model.training_pass(batch, torch.Generator().manual_seed(1))
    regular_B = multinomial(noisy.query_BH, model, batch) + 0.3 * noisy.regularizer_B
    row_BI = torch.from_numpy(rows.astype(np.float32))
    loss = DenseVAE.of(model).loss(row_BI, 0.3, torch.Generator().manual_seed(1))
    assert loss.item() == pytest.approx(regular_B.mean().item(), rel=1e-3)


def test_its_lists_hide_the_history(subject: Subject) -> None:
    histories = HistoryBatch.from_rows(drawn_histories(subject.loaded, Users(5, 30)))
    rows = csr_of(histories, 400)
    lists = dense_lists(DenseVAE.of(subject.loaded.model), rows, 10, batch_size=2)
    assert len(lists) == 5
    dense = rows.toarray()
    assert all(not dense[user, items_K].any() for user, items_K in enumerate(lists))


def test_other_models_have_no_dense_form() -> None:
    model = build_model("cdae", {"latent_dim": 4}, 30, 2)
    with pytest.raises(BadInputError, match="no dense reference for CDAE"):
        DenseVAE.of(model)
