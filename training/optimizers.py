"""Adam for tables of which a batch touches few rows.

Under Adam a row without a gradient does not stand still: its moments fade, and until they have
faded it goes on the way that it went. Dense Adam works that out for every row in every step. Here
a row does it all at once when it is touched next: steps without a gradient are a geometric series,
whose sum is known. A step then costs what its own rows cost; ``torch.optim.SparseAdam`` lets
untouched rows stand still, which is another rule.

The moments are those of dense Adam, and the weights are but for epsilon: the series is geometric
only if epsilon fades as the mean square does, and dense Adam's stays. Of numbers whose gradients
are of size 1 that is 1e-5 of a step, of size 1e-2 a thousandth, of size 1e-4 a tenth; of smaller
ones, which epsilon slows down, it may be half a step. With steps of 1e-3 on 5,000 items single
rows ended up to 6e-4 elsewhere, and the accuracy was the same to five digits.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, final

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

# Torch's defaults, which the other parameters of a run have.
BETA1: Final = 0.9
BETA2: Final = 0.999
EPSILON: Final = 1e-8
# What a step of a row without a gradient is to the one before it.
FADE: Final = BETA1 / math.sqrt(BETA2)
# Steps after which a row has come to rest: .9^256 is 2e-12.
FADING_STEPS: Final = 256
# Numbers that catch up at a time at the end of an epoch: bounds the memory that takes.
CATCH_UP_NUMBERS: Final = 1 << 22
# Numbers that a core's cache holds, several times over: 12 ms for 9,000 rows of 600 instead of 18.
CACHED_NUMBERS: Final = 1 << 16


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Gathered:
    """Rows of a table that a step works on, copied out of it.

    ``row_R``: which; ``leaf_RH``: the rows, which get a gradient; ``moments``: theirs.
    """

    table_IH: nn.Parameter
    row_R: Tensor
    leaf_RH: nn.Parameter
    moments: tuple[Tensor, Tensor]


@final
class RowAdam(torch.optim.Optimizer):
    """Adam that moves of some tables the rows gathered since the last step; others catch up later.

    All other parameters it moves as dense Adam does. ``catch_up`` has to come before anybody reads
    a table as a whole, or saves the state, which is that of ``torch.optim.Adam``. There is no
    weight decay: that would move every row in every step.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], tables: Collection[nn.Parameter], lr: float
    ) -> None:
        super().__init__(parameters, {"lr": lr})
        self._tables = tuple(tables)
        self._gathered: list[_Gathered] = []
        self._rooms: dict[nn.Parameter, list[Tensor]] = {}
        self._begin(0)

    def gather(self, table_IH: nn.Parameter, row_R: Tensor) -> nn.Parameter:
        """Copy rows out of a table, brought up to date, for the next step to give gradients to.

        Args:
            table_IH: One of the tables; [I], too.
            row_R: int64, each row once. A table is asked once a step.

        Returns:
            [R, H], a leaf.
        """
        if any(rows.table_IH is table_IH for rows in self._gathered):
            raise ValueError("a table's rows are gathered once a step")
        value_RH, mean_RH, square_RH = self._up_to_date(table_IH, row_R)
        leaf_RH = nn.Parameter(value_RH)
        self._gathered.append(_Gathered(table_IH, row_R, leaf_RH, (mean_RH, square_RH)))
        return leaf_RH

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # torch's own gives the loss, which nobody has here
        """Move the gathered rows, and all parameters that are no tables, by their gradients."""
        if closure is not None:
            raise TypeError("the rows are gathered before the loss is computed: no closure")
        self._clock += 1
        self._note_step()
        gathered, self._gathered = self._gathered, []
        moved = [_Moved.of(rows.leaf_RH, *rows.moments) for rows in gathered]
        for parameter in self._whole():
            state = self._state_of(parameter)
            moved.append(_Moved.of(parameter, state["exp_avg"], state["exp_avg_sq"]))
        _move(moved, self.param_groups[0]["lr"], self._clock)
        for rows in gathered:
            self._write(rows.table_IH, rows.row_R, (rows.leaf_RH, *rows.moments))
        for state in self.state.values():
            state["step"].fill_(self._clock)

    @torch.no_grad()
    def catch_up(self) -> None:
        """Bring every row of every table up to date."""
        for table_IH in self._tables:
            size = max(1, CATCH_UP_NUMBERS // max(1, table_IH[:1].numel()))
            for start in range(0, len(table_IH), size):
                stop = min(start + size, len(table_IH))
                row_R = torch.arange(start, stop, device=table_IH.device)
                self._write(table_IH, row_R, self._up_to_date(table_IH, row_R))
        self._begin(self._clock)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state in which all rows were up to date."""
        super().load_state_dict(state_dict)
        self._begin(max((int(state["step"]) for state in self.state.values()), default=0))

    def _whole(self) -> list[nn.Parameter]:
        """Give what is no table and has a gradient."""
        tables = set(self._tables)
        parameters = (each for group in self.param_groups for each in group["params"])
        return [each for each in parameters if each not in tables and each.grad is not None]

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state

    def _begin(self, clock: int) -> None:
        """Start counting at a step that all rows are up to date with."""
        self._clock = self._first = clock
        device = self._tables[0].device
        # Of each step since: how far a row that it moved last has gone from there, in steps of
        # mean / root of the mean square.
        self._way_T = torch.zeros(1, dtype=torch.float64, device=device)
        self._fading_W = FADE ** torch.arange(FADING_STEPS, 0, -1, dtype=torch.float64).to(device)
        self._seen = {
            table_IH: torch.full((len(table_IH),), clock, device=device)
            for table_IH in self._tables
        }

    def _note_step(self) -> None:
        rate = self.param_groups[0]["lr"] * self._correction() / (1 - BETA1**self._clock)
        recent_W = self._way_T[-FADING_STEPS:]
        recent_W += rate * self._fading_W[-len(recent_W) :]
        self._way_T = torch.cat((self._way_T, self._way_T.new_zeros(1)))

    def _correction(self) -> float:
        return math.sqrt(1 - BETA2 ** max(1, self._clock))

    @torch.no_grad()
    def _up_to_date(self, table_IH: nn.Parameter, row_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give copies of rows and of their moments, as dense Adam would have them now.

        They are good until the next rows of the table are asked for.
        """
        state = self._state_of(table_IH)
        wholes = (table_IH, state["exp_avg"], state["exp_avg_sq"])
        seen_R = self._seen[table_IH][row_R]
        late_R = (self._clock - seen_R).to(table_IH.dtype)
        way_R = self._way_T[seen_R - self._first].to(table_IH.dtype)
        across = (-1, *[1] * (table_IH.ndim - 1))
        factors = [each.view(across) for each in (way_R, BETA1**late_R, BETA2**late_R)]
        copies = self._room(table_IH, len(row_R))
        size = len(row_R) if table_IH.is_cuda else CACHED_NUMBERS // table_IH[0].numel()
        size = max(1, size)
        for start in range(0, len(row_R), size):
            part = slice(start, start + size)
            value_RH, mean_RH, square_RH = (copy[part] for copy in copies)
            for whole, copy in zip(wholes, (value_RH, mean_RH, square_RH), strict=True):
                torch.index_select(whole, 0, row_R[part], out=copy)
            # Dense Adam's epsilon does not fade: see above for what that comes to.
            root_RH = square_RH.sqrt().add_(EPSILON * self._correction())
            way, fade1, fade2 = (factor[part] for factor in factors)
            value_RH.addcmul_(torch.div(mean_RH, root_RH, out=root_RH), way, value=-1)
            mean_RH *= fade1
            square_RH *= fade2
        return copies[0], copies[1], copies[2]

    def _room(self, table_IH: nn.Parameter, count: int) -> list[Tensor]:
        """Give room for copies of so many rows, three times.

        The same room each time: memory that is asked for anew costs more than what is done in it.
        """
        rooms = self._rooms.get(table_IH)
        if rooms is None or len(rooms[0]) < count:
            shape = (min(len(table_IH), count + count // 4), *table_IH.shape[1:])
            rooms = [table_IH.new_empty(shape) for _ in range(3)]
            self._rooms[table_IH] = rooms
        return [room[:count] for room in rooms]

    def _write(
        self, table_IH: nn.Parameter, row_R: Tensor, values: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        state = self._state_of(table_IH)
        for whole, part in zip(
            (table_IH, state["exp_avg"], state["exp_avg_sq"]), values, strict=True
        ):
            whole.index_copy_(0, row_R, part)
        self._seen[table_IH].index_fill_(0, row_R, self._clock)


@final
@dataclass(frozen=True, slots=True)
class _Moved:
    """What a step moves: numbers, their gradient, its mean and its mean square."""

    value_RH: Tensor
    gradient_RH: Tensor
    mean_RH: Tensor
    square_RH: Tensor

    @classmethod
    def of(cls, parameter: nn.Parameter, mean_RH: Tensor, square_RH: Tensor) -> Self:
        gradient_RH = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        return cls(parameter, gradient_RH, mean_RH, square_RH)


def _move(moved: Sequence[_Moved], lr: float, clock: int) -> None:
    adam(
        [each.value_RH for each in moved],
        [each.gradient_RH for each in moved],
        [each.mean_RH for each in moved],
        [each.square_RH for each in moved],
        [],
        [torch.full((), clock - 1.0, device=each.value_RH.device) for each in moved],
        fused=True,
        amsgrad=False,
        beta1=BETA1,
        beta2=BETA2,
        lr=lr,
        weight_decay=0.0,
        eps=EPSILON,
        maximize=False,
    )
