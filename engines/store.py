"""Where a model's files are: a name or a folder -> its spec and its weights, fetched once if they must be.

Looked at in this order; only weights with the SHA-256 that a spec names are ever taken:
1. the folder itself, when one was named;
2. the model that ships under this name, in `engines/models/<name>/`;
3. `<folder>/<name>/` for each folder in EMOSTREAM_MODELS: a complete model, or only weights for a spec known already;
4. the same in the user's cache, `<user cache>/emostream/models/<name>/`;
5. the weights' official place, if the spec tells one; what comes is kept in the cache.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from engines import download as official
from engines.errors import ModelInvalid, ModelMissing
from engines.spec import MODEL_FILE, PARITY_FILE, SPEC_FILE, ModelSpec, sha256_of

log = logging.getLogger(__name__)

VARIABLE = "EMOSTREAM_MODELS"
SHIPPED = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is there: how to use it, and its weights."""

    spec: ModelSpec
    onnx_path: Path

    @property
    def parity_path(self) -> Path:
        """Beside the weights; where only these of a shipped model are there, beside its spec."""
        beside, shipped = self.onnx_path.with_name(PARITY_FILE), SHIPPED / self.spec.name
        if beside.exists() or not (shipped / SPEC_FILE).is_file():
            return beside
        return shipped / PARITY_FILE if ModelSpec.read(shipped).sha256 == self.spec.sha256 else beside


def find_model(
    name_or_path: str | Path,
    *,
    environment: Mapping[str, str] = os.environ,
    download: bool = True,
    progress: bool | None = None,
) -> Model:
    """The model of this name, or in this folder (a Path, or a text with a path separator or a leading `.` or `~`).

    `progress` shows a bar on stderr while downloading; None shows it where stderr is a terminal. Raises ModelMissing
    when the weights are nowhere, ModelInvalid when a spec is broken or the only weights found are not the spec's.
    """
    roots = [Path(root).expanduser() for root in environment.get(VARIABLE, "").split(os.pathsep) if root]
    roots.append(_cache())
    folder = _as_folder(name_or_path)
    first: ModelSpec | None = None
    wrong: list[str] = []
    for spec, place in _named(str(name_or_path), roots) if folder is None else _beside(folder, roots):
        first = first or spec
        path = _weights(spec, place, wrong)
        if path is not None:
            return Model(spec, path)
    if first is None:
        raise ModelMissing(
            f"no model is named {str(name_or_path)!r}; known: {', '.join(shipped_names()) or 'none'}; "
            f"for a folder write ./{name_or_path}"
        )
    try:
        return _fetch(first, download, progress)
    except ModelMissing as error:
        if wrong:
            raise ModelInvalid(f"{wrong[0]}; put the right file there") from None
        raise ModelMissing(f"{error}; {_what_to_do(first)}") from None


def shipped_names() -> tuple[str, ...]:
    """The names of the models whose spec is in the package, with or without weights."""
    return tuple(sorted(path.parent.name for path in SHIPPED.glob(f"*/{SPEC_FILE}")))


def _as_folder(name_or_path: str | Path) -> Path | None:
    """The folder that was meant, or None for a name: what a name means must not depend on the working directory."""
    text = str(name_or_path)
    separators = {os.sep, os.altsep or os.sep}
    if isinstance(name_or_path, Path) or text.startswith((".", "~")) or any(mark in text for mark in separators):
        return Path(text).expanduser()
    return None


def _named(name: str, roots: Sequence[Path]) -> Iterator[tuple[ModelSpec, Path]]:
    """Every folder that may hold the weights of the model of this name, with the spec that they must belong to."""
    shipped = ModelSpec.read(SHIPPED / name) if (SHIPPED / name / SPEC_FILE).is_file() else None
    if shipped is not None:
        yield shipped, SHIPPED / name
    for place in (root / name for root in roots):
        own = ModelSpec.read(place) if (place / SPEC_FILE).is_file() else shipped
        if own is not None:
            yield own, place


def _beside(folder: Path, roots: Sequence[Path]) -> Iterator[tuple[ModelSpec, Path]]:
    """The folder that was named; other places are asked for its weights only: its spec is the one that was meant."""
    if not folder.is_dir():
        raise ModelMissing(f"{folder}: there is no such model folder; name a folder that holds {SPEC_FILE}")
    spec = ModelSpec.read(folder)
    yield spec, folder
    yield from ((spec, root / spec.name) for root in roots)


def _weights(spec: ModelSpec, place: Path, wrong: list[str]) -> Path | None:
    """The file in `place` that is the spec's; files that have its name but not its hash are told in `wrong`."""
    for name in (MODEL_FILE, *spec.source.file_names):
        path = place / name
        if not path.is_file():
            continue
        try:
            came = sha256_of(path)
        except OSError as error:
            wrong.append(f"{path}: the weights cannot be read ({error.strerror})")
            continue
        if came == spec.sha256:
            return path
        wrong.append(f"{path}: has SHA-256 {came[:12]}..., the spec of {spec.name} wants {spec.sha256[:12]}...")
        log.warning("%s; passed over", wrong[-1])
    return None


def _fetch(spec: ModelSpec, download: bool, progress: bool | None) -> Model:
    """The weights from their official place, kept in the cache. Raises ModelMissing, ModelInvalid."""
    url = spec.source.url
    if url is None or not download:
        raise ModelMissing(f"the weights of {spec.name} are on no path that was looked at")
    path = _cache() / spec.name / MODEL_FILE
    official.fetch(url, path, spec.sha256, progress=progress)
    return Model(spec, path)


def _what_to_do(spec: ModelSpec) -> str:
    name = (spec.source.file_names or (MODEL_FILE,))[0]
    known = f" (from {spec.source.url})" if spec.source.url else ""
    return (
        f"place {name}{known} at {_cache() / spec.name / MODEL_FILE}, or set {VARIABLE} to a folder that holds "
        f"{spec.name}/{name}"
    )


def _cache() -> Path:
    return user_cache_path("emostream") / "models"
