"""A running comparison of models: which of them answers which user, the same one every time."""

import hashlib
import math
from dataclasses import dataclass
from typing import Final, Self, final

from service.errors import SettingsError

# A hash as a number above 0 and below 1: it has as many bits as a float64 holds.
HASH_BITS: Final = 53


@final
@dataclass(frozen=True, slots=True)
class Split:
    """Arms, each a model with the weight of its share of users.

    Attributes:
        weights: Above 0, by name of the model, in the order in which they were given.
        name: Of the comparison; under another one users are dealt out anew.
    """

    weights: tuple[tuple[str, float], ...]
    name: str = ""

    @classmethod
    def parse(cls, text: str, name: str = "") -> Self:
        """Read ``multvae=90,recvae=10``.

        Raises:
            SettingsError: It says something else, or names a model twice.
        """
        weights: dict[str, float] = {}
        for part in text.split(","):
            model, _, weight = (piece.strip() for piece in part.rpartition("="))
            if not model or model in weights or not _is_weight(weight):
                raise SettingsError(
                    f"{part.strip()!r} is no arm of a split: give each model once, "
                    "with a weight above 0, as in multvae=90,recvae=10"
                )
            weights[model] = float(weight)
        return cls(tuple(weights.items()), name)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the arms."""
        return tuple(model for model, _ in self.weights)

    def share(self, model: str) -> float:
        """Give the share of users that a model answers, 0 to 1."""
        return dict(self.weights).get(model, 0.0) / sum(weight for _, weight in self.weights)

    def arm(self, user_id: str) -> str:
        """Give the model that answers a user.

        By weighted rendezvous hashing (Schindelhauer and Schomaker, 2005): with u uniform in
        (0, 1) by arm and user, the arm with the least -log(u) / weight wins, which each does for
        its share of users. A weight that grows moves users into its arm alone.
        """
        return min(self.weights, key=lambda arm: self._draw(arm[0], user_id) / arm[1])[0]

    def _draw(self, model: str, user_id: str) -> float:
        """Draw from the exponential distribution, by hash."""
        parts = (self.name, model, user_id)
        # Lengths keep apart what would run together: an "ab" and "c" from an "a" and "bc".
        text = "".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")
        bits = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        return -math.log(((bits >> (64 - HASH_BITS)) + 0.5) / 2**HASH_BITS)


def _is_weight(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
