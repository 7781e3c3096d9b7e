"""The two models that are put side by side."""

from __future__ import annotations

from dataclasses import dataclass

from agents.models import short_name


@dataclass(frozen=True, slots=True)
class Pair:
    """The model's name, and that of the one it is compared with, if any."""

    model: str
    against: str | None

    @property
    def names(self) -> list[str]:
        """Both, or the one."""
        return [self.model] if self.against is None else [self.model, self.against]

    @property
    def shown(self) -> tuple[str, str | None]:
        """What tables call them."""
        if self.against is None:
            return short_name(self.model), None
        model, against = short_name(self.model), short_name(self.against)
        return (model, against) if model != against else (f"A {model}", f"B {against}")
