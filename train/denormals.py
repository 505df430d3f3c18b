"""Numbers nearer to zero than float32's normal ones: moving averages decay through them, and a processor takes a
hundred times as long over each."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """They count as zero meanwhile, where the processor can; a decorator as well.

    The switch is the calling thread's, for all of its arithmetic, not PyTorch's alone: whoever trains from a program of
    their own gets it back as it was.
    """
    before = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
