"""Three ways to count what travels in a step, for a neuron that sends n thresholds at once.

A burst of n unit spikes counts n. As signed digits (see digits.py) it is the sum of a few events +-2^k, each an
address, a sign and a small exponent. As one message with n as its payload it is a single event, as on Loihi 2.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Self

Counting = Literal["spikes", "digits", "messages"]


class Counts(NamedTuple):
    """Something in each of the three countings: events per neuron, or a sum over neurons or images."""

    spikes: Any
    digits: Any
    messages: Any

    @classmethod
    def alike(cls, value: Any) -> Self:
        """Where an event is one spike, one digit and one message."""
        return cls(value, value, value)

    @classmethod
    def of(cls, f: Callable[..., Any], *counts: "Counts") -> Self:
        """f of the same counting of each."""
        return cls(*(f(*values) for values in zip(*counts, strict=True)))

    def of_image(self, k: int) -> dict[str, float]:
        """Those of one image of a batch, by counting: plain numbers."""
        return {name: float(value[k]) for name, value in self._asdict().items()}


def by_counting(f: Callable[[dict[str, Any]], Any], counts: Mapping[str, Counts]) -> Counts:
    """f({name: events}) in each counting, computed once for those that have the same tensors."""
    results: dict[tuple[int, ...], Any] = {}

    def column(values: Iterable[Any]) -> Any:
        named = dict(zip(counts, values, strict=True))
        key = tuple(map(id, named.values()))
        if key not in results:
            results[key] = f(named)
        return results[key]

    return Counts(*(column(one[k] for one in counts.values()) for k in range(3)))
