"""What a backend is: a module with these functions. `engines.load` imports it late, and nobody else knows its package.

A backend that compiles ahead (OpenVINO, TensorRT) makes files, which the cache keeps and `load` is given again; one
that compiles while it loads (ONNX Runtime) makes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from engines.base import Engine
from engines.options import Options
from engines.spec import ModelSpec

Files = Mapping[str, bytes]  # what a build made: name -> content
Progress = Callable[[float], None]  # told how much is done, 0..1; what it raises ends the build


@dataclass(frozen=True, slots=True)
class Identity:
    """What a compiled engine depends on besides the model and the options. Empty where there is no such thing."""

    library: str  # name and version
    device: str  # its name, and of a CPU the instruction sets that kernels are chosen by
    compute_capability: str = ""
    driver: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of the compiled network, in the backend's own words: to be shown, not to be reasoned with."""

    name: str
    kind: str
    precision: str


@dataclass(frozen=True, slots=True)
class Built:
    """What compiling came to."""

    files: Files
    layers: tuple[Layer, ...] = ()


class Backend(Protocol):
    """What a backend's module has."""

    STATUS: str  # where it was run, or that plans were built only

    def identity(self, options: Options) -> Identity:
        """Of this machine, or of the targets that `options` names. Raises EngineMismatch when it has no such device."""
        ...

    def can_run(self, options: Options) -> str | None:
        """None when engines with these options compute on this machine, else why not, as a sentence's second half."""
        ...

    def build(self, spec: ModelSpec, weights: bytes, options: Options, progress: Progress) -> Built:
        """Compile. Raises ModelInvalid when the network is none or has what the backend lacks, EngineMismatch when the
        options cannot be met."""
        ...

    def load(self, spec: ModelSpec, weights: bytes, options: Options, files: Files | None = None) -> Engine:
        """An engine of what `build` made, or, where `files` is None, of the weights at once.

        Raises ModelInvalid, or EngineMismatch when it does not run without being built or not on this machine.
        """
        ...
