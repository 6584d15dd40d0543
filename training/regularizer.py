"""The regulariser of EASE and EDLAE, and the search for the one that validation users like best."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
from scipy.sparse import csr_array

from training.precision import Dense

# Where the search starts. On seven logs of 38,000 to 465,000 interactions the best l2 of EASE was
# .016 to .09 times the square of the mean history length, that of EDLAE half as much, with a
# dropout of a third to .7.
L2_OF_SQUARED_LENGTH: Final = 0.05
START_DROPOUT: Final = 0.5
# Steps in powers of two: l2 by factors of four, then two, then 1.4; the odds of dropout likewise.
FIRST_STEP: Final = 2.0
LAST_STEP: Final = 0.5
# An inversion of n rows takes n^3 operations, and two cores do some 4e10 a second: five minutes.
SEARCH_OPERATIONS: Final = 300 * 4e10
MAX_TRIALS: Final = 24


@final
@dataclass(frozen=True, slots=True)
class Regularizer:
    """What is added to the diagonal of X'X: ``dropout / (1 - dropout) * diag(X'X) + l2``.

    Without dropout it is that of EASE, with it that of EDLAE (Steck 2020, equation 5).
    """

    l2: float
    dropout: float = 0.0

    @classmethod
    def guess(cls, train: csr_array, l2: float | None, dropout: float | None) -> Self:
        """Fill in what is not given by what suits logs like this one."""
        mean_length = max(train.nnz / train.shape[0], 1.0)
        guessed_l2 = L2_OF_SQUARED_LENGTH * mean_length**2
        if dropout != 0:  # it does a part of the work
            guessed_l2 /= 2
        return cls(guessed_l2 if l2 is None else l2, START_DROPOUT if dropout is None else dropout)

    def diagonal_I(self, train: csr_array) -> Dense:
        """Give the addend of every item, [I]."""
        gram_I = np.asarray(train.power(2).sum(axis=0), dtype=np.float64).ravel()
        addend_I: Dense = self.dropout / (1 - self.dropout) * gram_I + self.l2
        return addend_I

    def moved(self, l2_steps: float, odds_steps: float) -> Self:
        """Multiply l2, and the odds ``dropout / (1 - dropout)``, by powers of two."""
        l2 = self.l2 * 2.0**l2_steps
        if odds_steps == 0:  # what was given stays to the last digit
            return type(self)(l2, self.dropout)
        odds = self.dropout / (1 - self.dropout) * 2.0**odds_steps
        return type(self)(l2, odds / (1 + odds))


def choose(
    measure: Callable[[Regularizer], float],
    start: Regularizer,
    trials: int,
    *,
    l2_is_free: bool,
    dropout_is_free: bool,
) -> Regularizer:
    """Climb to the regulariser that is worth most, in steps by powers of two.

    From where it stands the search looks one step along each free axis, both ways, goes where it
    is best, and halves its step where nothing is better.

    Args:
        measure: What a regulariser is worth on validation users.
        start: Where to begin.
        trials: How often ``measure`` may be asked; with one trial the start is taken as it is.
        l2_is_free: Whether l2 may change.
        dropout_is_free: Whether the dropout may.
    """
    directions = [(sign, 0) for sign in (-1, 1) if l2_is_free]
    directions += [(0, sign) for sign in (-1, 1) if dropout_is_free]
    if trials <= 1 or not directions:
        return start
    best, step = (0.0, 0.0), FIRST_STEP
    merits = {best: measure(start)}
    while step >= LAST_STEP:
        for l2_sign, odds_sign in directions:
            point = (best[0] + l2_sign * step, best[1] + odds_sign * step)
            if point not in merits and len(merits) < trials:
                merits[point] = measure(start.moved(*point))
        leader = max(merits, key=merits.__getitem__)
        step, best = (step / 2 if leader == best else step), leader
    return start.moved(*best)


def affordable_trials(num_users: int, num_items: int) -> int:
    """Tell how many inversions the choice may take: fewer for larger matrices, one at least."""
    return int(np.clip(SEARCH_OPERATIONS / min(num_users, num_items) ** 3, 1, MAX_TRIALS))
