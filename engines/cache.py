"""Where compiled engines are kept: a folder for each fingerprint, with its manifest.

    <user cache>/emostream/engines/<model>-<backend>-<precision>-<key>/     or below EMOSTREAM_ENGINES
        manifest.json       written last
        engine.plan, ...    what the backend made; each is compared with the manifest whenever it is read
    .lock-<key>             held (flock) by whoever builds or chooses; never removed, or two could hold it
    .tmp-<key>-<random>     a build in progress, or what a killed one left

A folder gets its name by one `rename`, complete: whatever else lies around can be no engine.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path
from pydantic import ValidationError

from engines.errors import EngineError, EngineMismatch, EngineMissing
from engines.manifest import KEY_DIGITS, MANIFEST_FILE, File, Fingerprint, Manifest, folder_name

VARIABLE = "EMOSTREAM_ENGINES"
LOCK, TEMPORARY = ".lock-", ".tmp-"
KEPT = "kept"  # the key of small files on their way


@dataclass(frozen=True, slots=True)
class Entry:
    """An engine in the cache. Its files are believed only after `read`."""

    folder: Path
    manifest: Manifest

    def read(self) -> dict[str, bytes]:
        """The files, read once: the bytes that were compared with the manifest are those that are used.

        Raises EngineMismatch, naming the file, when one is missing, cut off or another one.
        """
        return {name: _read(self.folder / name, file) for name, file in self.manifest.files.items()}

    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.manifest.files.values())


@dataclass(frozen=True, slots=True)
class Broken:
    """A folder among the engines that is none."""

    folder: Path
    why: str


class Cache:
    """The engines below one folder. Any number of processes may use it at once."""

    def __init__(self, root: Path | None = None, environment: Mapping[str, str] = os.environ) -> None:
        named = environment.get(VARIABLE)
        chosen = root or (Path(named).expanduser() if named else user_cache_path("emostream") / "engines")
        self.root = chosen.absolute()  # a build has a working directory of its own

    def find(self, model: str, fingerprint: Fingerprint) -> Entry:
        """The engine with this fingerprint. Raises EngineMissing, with what differs where one of its kind is there."""
        folder = self.root / folder_name(model, fingerprint)
        if folder.is_dir():
            entry = _entry(folder)
            if isinstance(entry, Broken):
                raise EngineMismatch(f"{folder}: {entry.why}; remove it with: emostream engines prune")
            if entry.manifest.fingerprint != fingerprint:
                differs = entry.manifest.fingerprint.difference(fingerprint)
                raise EngineMismatch(f"{folder}: its manifest is of another engine ({differs}); build it again")
            return entry
        nearest = self._nearest(model, fingerprint)
        raise EngineMissing(f"no engine of {model} for {fingerprint.backend} is built{nearest}")

    def at(self, folder: Path) -> Entry:
        """The engine in a folder that was named. Raises EngineMismatch when there is none."""
        entry = _entry(folder)
        if isinstance(entry, Broken):
            raise EngineMismatch(f"{folder}: {entry.why}; build the engine again")
        return entry

    def entries(self) -> list[Entry | Broken]:
        """All engines, and what only looks like one, by name. Raises EngineError when there can be none."""
        try:
            folders = sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            where = f"set {VARIABLE} to a folder"
            raise EngineError(f"{self.root}: no engines can be kept there ({error.strerror}); {where}") from None
        return [_entry(folder) for folder in folders]

    @contextmanager
    def locked(self, fingerprint: Fingerprint) -> Iterator[None]:
        """Nobody else builds this engine meanwhile; waits for whoever does. Raises EngineError."""
        with self.alone(fingerprint.key()[:KEY_DIGITS]):
            yield

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Nobody else holds this key meanwhile; waits for whoever does. Raises EngineError."""
        with ExitStack() as stack:
            with self._told():
                self.root.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_flock(self._lock(key)))
            yield

    def add(self, manifest: Manifest, files: Mapping[str, bytes]) -> Entry:
        """Keep an engine, in the place of any of the same fingerprint. To be called within `locked`.

        Raises EngineError when the disk is full or the folder cannot be written; nothing of it stays then.
        """
        target = self.root / manifest.folder_name()
        with self._told():
            made = self._new(manifest.fingerprint.key()[:KEY_DIGITS])
            try:
                for name, content in files.items():
                    _write(made / name, content)
                _write(made / MANIFEST_FILE, manifest.as_json().encode())
                _sync(made)
                made.chmod(0o755)
                if target.exists():
                    target.rename(made.with_name(f"{made.name}-old"))
                made.rename(target)
                _sync(self.root)
            finally:
                for left in self.root.glob(f"{made.name}*"):
                    _remove(left)
        return Entry(target, manifest)

    def keep(self, path: Path, text: str) -> None:
        """A small file beside the engines: the old one or the new one, whenever the power goes. Raises EngineError."""
        part = self.root / f"{TEMPORARY}{KEPT}-{os.getpid()}"
        with self._told():
            self.root.mkdir(parents=True, exist_ok=True)
            with _flock(self._lock(KEPT)):
                try:
                    _write(part, text.encode())
                    part.replace(path)
                finally:
                    part.unlink(missing_ok=True)

    def remove(self, entry: Entry | Broken) -> bool:
        """Take an engine away, at once for whoever looks for it. False when it is another one by now, or being built.

        Raises EngineError.
        """
        key = entry.folder.name.rpartition("-")[2]
        with self._told(), _flock(self._lock(key), wait=False) as mine:
            if not mine or not entry.folder.is_dir() or _entry(entry.folder) != entry:
                return False
            doomed = self._new(key)
            entry.folder.rename(doomed / "old")
            _remove(doomed)
            return True

    def forget(self) -> None:
        """Remove what `engines.choice` remembers, so that it is measured again."""
        with self._told():
            for path in self.root.glob("choice-*.json"):
                path.unlink(missing_ok=True)

    def sweep(self) -> list[Path]:
        """Remove what killed builds left, but nothing that is being built; what was removed. Raises EngineError."""
        gone = []
        for path in sorted(self.root.glob(f"{TEMPORARY}*")):
            key = path.name.removeprefix(TEMPORARY).partition("-")[0]
            with self._told(), _flock(self._lock(key), wait=False) as mine:
                if mine:
                    _remove(path)
                    gone.append(path)
        return gone

    def _new(self, key: str) -> Path:
        """A folder that is no engine. It belongs to whoever holds the lock of its key."""
        return Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{key}-", dir=self.root))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the disk refuses into a sentence."""
        try:
            yield
        except OSError as error:
            why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
            raise EngineError(f"{self.root}: the engine cannot be kept ({why}); nothing was written") from None

    def _lock(self, key: str) -> Path:
        return self.root / f"{LOCK}{key}"

    def _nearest(self, model: str, fingerprint: Fingerprint) -> str:
        """Why one that is there does not count, if one is."""
        for entry in self.entries():
            if isinstance(entry, Entry) and (entry.manifest.name, entry.manifest.fingerprint.backend) == (
                model,
                fingerprint.backend,
            ):
                return f" (one is there, but {entry.manifest.fingerprint.difference(fingerprint)})"
        return ""


def files_of(files: Mapping[str, bytes]) -> dict[str, File]:
    """What a manifest says of them."""
    return {name: File(sha256=hashlib.sha256(data).hexdigest(), size=len(data)) for name, data in files.items()}


def _remove(path: Path) -> None:
    """As well as can be: what stays is no engine, and the next `sweep` tries again."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _entry(folder: Path) -> Entry | Broken:
    try:
        return Entry(folder, Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes()))
    except OSError as error:
        return Broken(folder, f"no readable {MANIFEST_FILE} ({error.strerror})")
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        return Broken(folder, f"{MANIFEST_FILE} is none that this version can read ({where}: {first['msg']})")


def _read(path: Path, file: File) -> bytes:
    again = "build the engine again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EngineMismatch(f"{path}: cannot be read ({error.strerror}); {again}") from None
    if len(content) != file.size:
        raise EngineMismatch(f"{path}: expected {file.size} bytes, it has {len(content)}; {again}")
    came = hashlib.sha256(content).hexdigest()
    if came != file.sha256:
        raise EngineMismatch(f"{path}: expected SHA-256 {file.sha256[:12]}..., it has {came[:12]}...; {again}")
    return content


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Names are durable only when their folder is."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def _flock(path: Path, wait: bool = True) -> Iterator[bool]:
    """Whether the lock is ours. It ends with the process, however that dies."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
