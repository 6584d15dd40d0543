"""Retrieval from very large catalogues: an approximate index, its recall measured at load."""

from collections.abc import Sequence
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.device import to_host
from service.histories import History, HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.exact import ExactRetriever
from service.retrieval.inverted_lists import InvertedLists
from service.retrieval.item_scores import ItemScores
from service.retrieval.ranking import as_lists, ordered

# Candidates beyond k that are scored exactly: the index knows scores roughly.
MIN_SPARE: Final = 64
# A row that needs more of the catalogue than this is ranked exactly: the index would scan most of
# the items that the exact product scans, and still miss some.
LARGEST_SHARE: Final = 1 / 16
TARGET_RECALL: Final = 0.99
FIRST_PROBES: Final = 8
# Doubling that finds no more than this is not worth its time.
MIN_GAIN: Final = 0.001
MEASURED_K: Final = 100
MEASURED_AT_A_TIME: Final = 32
SAMPLED_HISTORIES: Final = 512
LONGEST_HISTORY: Final = 200


@final
class ApproximateRetriever:
    """Most of the best items, from a small share of the catalogue; their scores are exact.

    The index gives the candidates, of which the hidden ones are dropped; the others are scored
    and ordered as ``ExactRetriever`` does it, in float64. Lists are ``min(k, eligible)`` long: a
    row that the index gives too few for is ranked exactly, and so is a row of which so much is
    hidden (a narrow filter) that the index would be no help.

    When built, it doubles the lists that a query scans until ``TARGET_RECALL`` of the exact top
    100 is found for the sampled queries, and keeps what was measured.

    Measured on a Mult-VAE 600/200 of Amazon-book (24,910 items), its catalogue made eight times as
    large by copies of each item with 0.4 times the difference of two random items added; queries
    of real histories, seen items hidden, k = 20, one thread of a busy machine: 1.0 ms a row alone
    and 1.4 ms in a batch of 32, against 66 and 10 for ``ExactRetriever``; 99.9 % of the exact top
    20, 99.7 % of the top 100; 11 s to build and measure; 123 MB beside the 479 MB of the items.
    """

    name = "ann"

    def __init__(
        self,
        item_vectors_IH: Tensor,
        item_bias_I: Tensor,
        sample_SH: Tensor,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        """Build the index and measure it.

        Args:
            item_vectors_IH: float32; not copied.
            item_bias_I: float32; not copied.
            sample_SH: Queries of ``drawn_histories``, or of real ones; at least two. Every other
                one shapes the index, which is measured on the rest.
            seed: Of the clustering.
            threads: Of building the index.

        Raises:
            SettingsError: The package of the extra ``ann`` is not installed.
            ValueError: Fewer than two queries.
        """
        if len(sample_SH) < 2:  # noqa: PLR2004 - one to shape, one to measure
            raise ValueError("the index needs two queries at least")
        self._scores = ItemScores(item_vectors_IH, item_bias_I)
        self._exact = ExactRetriever(item_vectors_IH, item_bias_I)
        vectors_IH, bias_I = self._scores.item_vectors_IH, self._scores.item_bias_I
        self._lists = InvertedLists(vectors_IH, bias_I, sample_SH[::2], seed, threads)
        self._num_items = len(bias_I)
        self._probes = min(FIRST_PROBES, self._lists.num_lists)
        self._measured_recall = self._tuned(sample_SH[1::2])

    @property
    def measured_recall(self) -> float:
        """Share of the exact top 100 that the sampled queries got, nothing hidden."""
        return self._measured_recall

    @property
    def probes(self) -> int:
        """Lists of the index that a query scans."""
        return self._probes

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        """Pick ``min(k, eligible)`` items for each of B rows; hidden items never come back."""
        del histories  # a model with a full-rank part has no index
        depths = [self._depth(want) for want in wanted]
        found: dict[int, TopK] = {}
        # By depth, and not all at the largest: a row gets the same list in any company.
        for depth in sorted({depth for depth in depths if self._is_shallow(depth)}):
            rows = [row for row, own in enumerate(depths) if own == depth]
            found |= self._approximate(query_BH, wanted, rows, depth)
        missing = [row for row in range(len(wanted)) if row not in found]
        if missing:
            tops = self._exact.top_k(query_BH[missing], [wanted[row] for row in missing])
            found |= zip(missing, tops, strict=True)
        return [found[row] for row in range(len(wanted))]

    def _depth(self, want: Wanted) -> int:
        """Count the candidates to ask the index for, enough if all hidden items are among them.

        Powers of two, so that most rows of a batch are searched together.
        """
        needed = _num_scored(want.k) + len(want.hidden())
        return 1 << (needed - 1).bit_length()

    def _is_shallow(self, depth: int) -> bool:
        return depth <= LARGEST_SHARE * self._num_items

    def _approximate(
        self, query_BH: Tensor, wanted: Sequence[Wanted], rows: Sequence[int], depth: int
    ) -> dict[int, TopK]:
        """Give the lists of the rows for which the index has enough items."""
        query_BH, wanted = query_BH[rows], [wanted[row] for row in rows]
        item_BC, shown_BC = _shown(self._lists.candidates(query_BH, depth, self._probes), wanted)
        item_tensor_BC = torch.from_numpy(item_BC).to(query_BH.device)
        (true_BC,) = to_host(self._scores.of_items(query_BH, item_tensor_BC))
        score_BC = np.where(shown_BC, true_BC.numpy(), -np.inf).astype(np.float32)
        item_BC, score_BC = ordered(item_BC, score_BC)
        tops = as_lists(item_BC, score_BC, wanted, shown_BC.sum(axis=1))
        return {
            row: top
            for row, want, top in zip(rows, wanted, tops, strict=True)
            if len(top.item_index_K) == self._expected_length(want)
        }

    def _expected_length(self, want: Wanted) -> int:
        return min(want.k, self._num_items - len(want.hidden()))

    def _tuned(self, query_SH: Tensor) -> float:
        """Choose the lists to scan; give the recall that they have."""
        blocks = torch.split(query_SH, MEASURED_AT_A_TIME)
        want = Wanted(min(MEASURED_K, self._num_items), np.empty(0, dtype=np.int64))
        exact = [top for block in blocks for top in self._exact.top_k(block, [want] * len(block))]
        recall = self._recall(blocks, want, exact)
        while recall < TARGET_RECALL and self._probes < self._lists.num_lists:
            before = (self._probes, recall)
            self._probes = min(2 * self._probes, self._lists.num_lists)
            recall = self._recall(blocks, want, exact)
            if recall < before[1] + MIN_GAIN:
                self._probes, recall = before
                break
        return recall

    def _recall(self, blocks: Sequence[Tensor], want: Wanted, exact: Sequence[TopK]) -> float:
        tops = [top for block in blocks for top in self.top_k(block, [want] * len(block))]
        pairs = zip(tops, exact, strict=True)
        hits = [len(np.intersect1d(top.item_index_K, best.item_index_K)) for top, best in pairs]
        return float(np.mean(hits)) / want.k


def drawn_histories(num_items: int, generator: np.random.Generator) -> list[History]:
    """Draw histories to measure with, where no real ones are at hand.

    All items are equally likely, and lengths are log-uniform. That is harder than users are: an
    index tuned on such rows had a higher recall on real ones (Amazon-book x 8: 0.994 measured,
    0.997 real), or 0.5 points less on the worst catalogue tried. Popular items, or lists of the
    model's own making, promise up to 7 points too much.
    """
    longest = min(LONGEST_HISTORY, num_items)
    lengths = np.exp(generator.uniform(0, np.log(longest), SAMPLED_HISTORIES)).astype(np.int64)
    return [History.of(generator.choice(num_items, length, replace=False)) for length in lengths]


def _num_scored(k: int) -> int:
    return k + max(MIN_SPARE, k)


def _shown(
    item_BN: NDArray[np.int64], wanted: Sequence[Wanted]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Keep the best candidates of each row that may be shown: items, and which of them count."""
    shown_BN = item_BN >= 0
    for row, want in enumerate(wanted):
        shown_BN[row] &= ~np.isin(item_BN[row], want.hidden())
    num_scored_B = np.array([_num_scored(want.k) for want in wanted])
    order_BC = np.argsort(~shown_BN, axis=1, kind="stable")[:, : num_scored_B.max()]
    item_BC = np.take_along_axis(item_BN, order_BC, axis=1).clip(min=0)
    shown_BC = np.take_along_axis(shown_BN, order_BC, axis=1)
    return item_BC, shown_BC & (np.arange(order_BC.shape[1]) < num_scored_B[:, None])
