"""Items in lists of neighbours (faiss): a search scans the lists that a query points at."""

import importlib
import math
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.errors import SettingsError

# Dimensions kept, as a share of H: on trained weights (24,910 x 600) the lists scan four times
# faster than whole vectors and find the same items; 64 of 200 lose nothing either.
KEPT_SHARE: Final = 0.25
MIN_KEPT_DIM: Final = 64
# Mixed into the covariance of queries, so that directions which a few hundred sampled queries
# do not show still count.
ISOTROPIC_SHARE: Final = 0.1
# Enough for a covariance and for the centres of clusters; more only costs time.
SAMPLED_ITEMS: Final = 50_000
POINTS_A_CENTRE: Final = 40
CLUSTERING_ROUNDS: Final = 8
# Rows at a time, so that a large catalogue is never copied whole at full width.
BLOCK_ROWS: Final = 65_536


@final
class InvertedLists:
    """Approximate maximum inner product search.

    Vectors get the bias as one more dimension (a query has 1 there) and lose their mean, which
    ranks items as before. With C = L L' the second moment of queries, ``q . v`` equals
    ``(L^-1 q) . (L' v)``, and ``|L' v - L' w|^2`` is the expected square of what two items differ
    by in score. So in that space Euclidean clusters are items of like scores, and the leading
    principal components keep most of what tells scores apart. Lists are those clusters; a query
    scans the ``probes`` lists whose centres score best.

    Of faiss 1.15, usearch 2.26, hnswlib 0.8 and scann 1.4, on Mult-VAE weights with queries of real
    histories, candidates twice k scored exactly, one thread. 199,280 items x 600, recall of the
    top 100 and ms a query alone: these lists 0.984 in 0.3 ms and 0.997 in 0.7, built in 1 s; faiss
    IVF over whole vectors, clustered on the sphere, 0.983 in 1.6, built in 7 s; scann 0.959 in 0.2,
    built in 46 s. 204,900 items x 200: these lists 0.997 in 0.1 ms, built in 1 s; graphs over whole
    vectors (16 neighbours, search breadth 512) no more than 0.80 (faiss 0.5 ms, hnswlib 0.4,
    usearch 0.9; built in 30 to 50 s), though faiss's had 0.993 on 24,910 items x 600.

    Args:
        item_vectors_IH: float32.
        item_bias_I: float32.
        sample_SH: Queries to learn C from, at least one.
        seed: Of the clustering.
        threads: Of the building; a search runs on the caller's.

    Raises:
        SettingsError: faiss is not installed.
    """

    def __init__(
        self,
        item_vectors_IH: Tensor,
        item_bias_I: Tensor,
        sample_SH: Tensor,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        faiss = _faiss()
        faiss.omp_set_num_threads(threads)
        self._hidden_dim = item_vectors_IH.shape[1]
        space = _Space(item_vectors_IH, item_bias_I, sample_SH)
        reduced_IR = space.items()
        self._query_map_DR = space.query_map_DR
        num_items, reduced_dim = reduced_IR.shape
        num_lists = max(1, math.isqrt(num_items))
        clusters = faiss.Kmeans(
            reduced_dim,
            num_lists,
            niter=CLUSTERING_ROUNDS,
            seed=seed,
            min_points_per_centroid=1,  # faiss prints a warning below its 39
            max_points_per_centroid=POINTS_A_CENTRE,
        )
        clusters.train(reduced_IR)
        self._centre_RL = torch.from_numpy(clusters.centroids.T.astype(np.float64))
        nearest = faiss.IndexFlatL2(reduced_dim)
        nearest.add(clusters.centroids)
        self._index = faiss.IndexIVFFlat(
            nearest, reduced_dim, num_lists, faiss.METRIC_INNER_PRODUCT
        )
        self._index.add(reduced_IR)

    @property
    def num_lists(self) -> int:
        """L, the square root of the catalogue's size."""
        return self._centre_RL.shape[1]

    def candidates(self, query_BH: Tensor, count: int, probes: int) -> NDArray[np.int64]:
        """Give ``count`` items a row, [B, count], best first by their approximate scores.

        The rest of a row is -1 where the lists hold fewer. What a row gets does not depend on
        the others: the query's sums run in float64, and faiss scans row by row.
        """
        map_DR = self._query_map_DR
        query_BR = query_BH.cpu().double() @ map_DR[: self._hidden_dim] + map_DR[self._hidden_dim]
        centre_score_BL, list_BL = (query_BR @ self._centre_RL).sort(descending=True, stable=True)
        self._index.nprobe = probes
        _, item_BC = self._index.search_preassigned(
            query_BR.float().numpy(),
            count,
            list_BL[:, :probes].contiguous().numpy(),
            centre_score_BL[:, :probes].float().contiguous().numpy(),
        )
        return np.asarray(item_BC, dtype=np.int64)


@final
class _Space:
    """Where Euclidean distance is expected difference in score, cut to its leading dimensions."""

    def __init__(self, item_vectors_IH: Tensor, item_bias_I: Tensor, sample_SH: Tensor) -> None:
        self._vectors_IH = item_vectors_IH.detach().cpu()
        self._bias_I = item_bias_I.detach().cpu()
        stride = math.ceil(len(self._bias_I) / SAMPLED_ITEMS)
        sampled_ID = torch.cat(
            [self._vectors_IH[::stride], self._bias_I[::stride, None]], dim=1
        ).double()
        mean_D = sampled_ID.mean(dim=0)
        sample_SD = torch.nn.functional.pad(sample_SH.detach().cpu().double(), (0, 1), value=1.0)
        root_DD = torch.linalg.cholesky(_moment(sample_SD))
        spread_ID = (sampled_ID - mean_D) @ root_DD
        # eigh sorts by rising eigenvalue: the leading components come last.
        components_DD = torch.linalg.eigh(spread_ID.T @ spread_ID).eigenvectors
        components_DR = components_DD[:, -kept_dim(len(mean_D)) :]
        self._item_map_DR = (root_DD @ components_DR).float()
        self._mean_R = mean_D.float() @ self._item_map_DR
        self.query_map_DR = torch.linalg.solve_triangular(root_DD.T, components_DR, upper=True)

    def items(self) -> NDArray[np.float32]:
        """Map the items, float32 [I, R]."""
        blocks = zip(
            torch.split(self._vectors_IH, BLOCK_ROWS),
            torch.split(self._bias_I, BLOCK_ROWS),
            strict=True,
        )
        mapped = [
            torch.addmm(
                -self._mean_R, torch.cat([vectors_IH, bias_I[:, None]], 1), self._item_map_DR
            )
            for vectors_IH, bias_I in blocks
        ]
        reduced_IR: NDArray[np.float32] = torch.cat(mapped).numpy()
        return reduced_IR


def _faiss() -> Any:  # noqa: ANN401 - its type stubs give the C++ signatures, not Python's
    """Import an extra that only who chooses it needs."""
    try:
        return importlib.import_module("faiss")
    except ImportError:
        raise SettingsError(
            "FOLDIN_RETRIEVAL=ann needs the package faiss: pip install 'foldin[ann]'"
        ) from None


def kept_dim(dim: int) -> int:
    """Give R, the dimensions that the lists keep of vectors with the bias as one more."""
    return min(dim, max(MIN_KEPT_DIM, int(dim * KEPT_SHARE)))


def _moment(sample_SD: Tensor) -> Tensor:
    moment_DD = sample_SD.T @ sample_SD / len(sample_SD)
    isotropic = ISOTROPIC_SHARE * moment_DD.trace() / len(moment_DD)
    return moment_DD + isotropic * torch.eye(len(moment_DD), dtype=moment_DD.dtype)
