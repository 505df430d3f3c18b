"""What was measured, and whether that is good enough."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One row of the table: reached when it is within `least` and `most`."""

    test: str
    what: str
    measured: float
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def reached(self) -> bool:
        above = self.least is None or self.measured >= self.least
        return above and (self.most is None or self.measured <= self.most)

    @property
    def reach(self) -> str:
        bounds = ((">=", self.least), ("<=", self.most))
        return ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)

    @property
    def shown(self) -> str:
        digits = "," if isinstance(self.measured, int) else ".3g"
        return f"{self.measured:{digits}} {self.unit}".strip()

    def as_json(self) -> dict[str, Any]:
        """`measured` is null for what never came, since JSON has no infinity."""
        return {**asdict(self), "measured": self.measured if math.isfinite(self.measured) else None, "ok": self.reached}

    def __str__(self) -> str:
        return f"{self.test}: {self.what}: {self.shown} ({self.reach})"
