"""How an engine is to be made of a model: what the user may choose, the same for every backend."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engines.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Options:
    """Part of an engine's fingerprint: other options make another engine."""

    threads: int = 1  # inside one call; a backend for GPUs looks at none
    max_batch: int = 64
    side_px: int = 640  # the longest side of a picture, where the model leaves its sides free
    # Compute an fp32 graph in bfloat16, where the backend can; its files hold no such precision. None: either, which is
    # for `engines.choose` to find out.
    bf16: bool | None = False
    targets: tuple[str, ...] = ()  # compute capabilities to build for, such as sm89; none: the device that is here

    def ways(self) -> tuple[Options, ...]:
        """All that leave nothing to be found out, the one that changes no precision first."""
        return (replace(self, bf16=False), replace(self, bf16=True)) if self.bf16 is None else (self,)

    def sides(self, spec: ModelSpec) -> tuple[int, int]:
        """(height, width) that the network sees most: its own, or a picture of 16:9 where it leaves them free."""
        _, height, width = spec.input_shape
        return height or _up(self.side_px * 9 // 16, spec.stride), width or self.longest(spec)

    def longest(self, spec: ModelSpec) -> int:
        """Of a side that the network leaves free."""
        return _up(self.side_px, spec.stride)


def _up(side: int, stride: int) -> int:
    """To a multiple, as sources pad their pictures."""
    return max(1, -(-side // stride)) * stride
