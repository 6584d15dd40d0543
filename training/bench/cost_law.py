"""How a cost grows: a power of a size, or a fixed part and so much a piece."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
from numpy.typing import NDArray

from training.errors import BadInputError

# Two points lie on any line: a third tells how well a law holds.
FEWEST_POINTS: Final = 3
Numbers = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class CostLaw:
    """A law of two numbers, fitted to sizes and costs.

    Attributes:
        form: ``power``: ``cost = factor * size ** exponent``. ``affine``:
            ``cost = fixed + each * size``. The one whose errors are smaller, as the sum of squares
            of ``log(cost / law)``; both have two numbers, so that this favours neither.
        fixed: Of the affine law.
        each: Of the affine law, a piece.
        factor: Of the power law.
        exponent: Of the power law, whichever form was chosen: 0 for what does not grow, 1 for
            what grows as the size does.
        exponent_error: Its standard error.
        r_squared: Share of the squares of ``log cost`` that the chosen form explains, 1 where
            costs do not differ.
        doubling: What twice the size costs by the chosen form, as a multiple, between half of the
            largest size and that.
    """

    form: Literal["power", "affine"]
    fixed: float
    each: float
    factor: float
    exponent: float
    exponent_error: float
    r_squared: float
    doubling: float

    def __call__(self, size: float) -> float:
        """Give the cost of a size."""
        if self.form == "affine":
            return self.fixed + self.each * size
        return float(self.factor * size**self.exponent)


def refuse_few(sizes: Sequence[float]) -> None:
    """Refuse sizes that no law can be fitted to, before anything is measured.

    Raises:
        BadInputError: Too few are different.
    """
    if len(set(sizes)) < FEWEST_POINTS:
        raise BadInputError(f"{FEWEST_POINTS} different sizes at least make a law")


def fitted(sizes: Sequence[float], costs: Sequence[float]) -> CostLaw:
    """Fit both laws, and choose one.

    The power law is a line through the logarithms, by least squares. The affine law is fitted with
    weights of 1 / cost^2, so that it, too, errs by the same share everywhere.

    Args:
        sizes: Above 0, three different ones at least.
        costs: Above 0, as many.

    Raises:
        BadInputError: Too few sizes, or one that is not above 0.
    """
    refuse_few(sizes)
    size_N, cost_N = np.asarray(sizes, np.float64), np.asarray(costs, np.float64)
    if not ((size_N > 0).all() and (cost_N > 0).all()):
        raise BadInputError("a law needs sizes and costs above 0")
    log_N = np.log(cost_N)
    (intercept, exponent), power_error = _line(np.log(size_N), log_N)
    power_N = log_N - (intercept + exponent * np.log(size_N))
    (fixed, each), _ = _line(size_N, cost_N, 1 / cost_N)
    affine_N = _log_errors(cost_N, fixed + each * size_N)
    is_affine = float((affine_N**2).sum()) < float((power_N**2).sum())
    left = float(((affine_N if is_affine else power_N) ** 2).sum())
    spread = float(((log_N - log_N.mean()) ** 2).sum())
    largest = float(size_N.max())
    ends = (fixed + each * largest) / (fixed + each * largest / 2) if is_affine else 2.0**exponent
    return CostLaw(
        form="affine" if is_affine else "power",
        fixed=fixed,
        each=each,
        factor=float(np.exp(intercept)),
        exponent=exponent,
        exponent_error=power_error,
        r_squared=1 - left / spread if spread else 1.0,
        doubling=float(ends),
    )


def _line(
    x_N: Numbers, y_N: Numbers, weight_N: Numbers | None = None
) -> tuple[tuple[float, float], float]:
    """Fit ``y = a + b x`` by weighted least squares: a and b, and the standard error of b."""
    weight_N = np.ones_like(x_N) if weight_N is None else weight_N
    columns_N2 = np.stack([np.ones_like(x_N), x_N], axis=1) * weight_N[:, None]
    # Scaled, since sizes of 10^5 beside ones would cost half of the digits.
    scale_2 = np.linalg.norm(columns_N2, axis=0)
    solution_2 = np.linalg.lstsq(columns_N2 / scale_2, y_N * weight_N, rcond=None)[0] / scale_2
    left_N = y_N * weight_N - columns_N2 @ solution_2
    variance = float(left_N @ left_N) / (len(x_N) - 2)
    covariance_22 = np.linalg.inv((columns_N2 / scale_2).T @ (columns_N2 / scale_2))
    error = float(np.sqrt(variance * covariance_22[1, 1])) / scale_2[1]
    return (float(solution_2[0]), float(solution_2[1])), float(error)


def _log_errors(cost_N: Numbers, law_N: Numbers) -> Numbers:
    """Give ``log(cost / law)``; a law that has no cost somewhere is infinitely wrong there."""
    errors_N = np.full_like(cost_N, np.inf)
    is_cost_N = law_N > 0
    errors_N[is_cost_N] = np.log(cost_N[is_cost_N] / law_N[is_cost_N])
    return errors_N
