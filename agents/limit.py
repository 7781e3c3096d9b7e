"""How many calls an endpoint takes at once: all that are ready, until it says 429. Decides, and does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

GROWTH = 10  # a limit grows by a tenth of itself, and only after as many answers as it allows came at full load


@dataclass(slots=True)
class Limit:
    """Only a 429 cuts the limit, by half and once for all calls that were in flight then. `most` is the ceiling."""

    most: int
    in_flight: int = 0
    _allowed: int = field(init=False)
    _cuts: int = 0
    _answered_at_full_load: int = 0

    def __post_init__(self) -> None:
        self._allowed = self.most

    def free(self) -> bool:
        """Whether one more call may be sent."""
        return self.in_flight < self._allowed

    def send(self) -> int:
        """Count a call that is sent. Give what this returns to `overloaded`."""
        self.in_flight += 1
        return self._cuts

    def done(self, *, answered: bool) -> None:
        """Count a call that came back. Growth needs answers at full load; failures pause it."""
        if not answered:
            self._answered_at_full_load = 0
        elif self.in_flight >= self._allowed:
            self._answered_at_full_load += 1
        self.in_flight -= 1
        if self._answered_at_full_load >= self._allowed < self.most:
            self._allowed = min(self.most, self._allowed + max(1, self._allowed // GROWTH))
            self._answered_at_full_load = 0

    def overloaded(self, sent_at: int) -> None:
        """Cut the limit after a 429 to a call whose `send` gave `sent_at`; call it before `done`."""
        if sent_at == self._cuts:
            self._allowed = max(1, min(self._allowed, self.in_flight) // 2)
            self._cuts += 1
            self._answered_at_full_load = 0
