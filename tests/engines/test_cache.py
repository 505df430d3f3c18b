"""What lies in the cache is whole and what its manifest says, or it is no engine: whoever died, whatever was full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.cache import LOCK, TEMPORARY, VARIABLE, Broken, Cache, Entry
from engines.errors import EngineError, EngineMismatch, EngineMissing
from engines.manifest import KEY_DIGITS, MANIFEST_FILE
from tests.conftest import PROJECT
from tests.engines.manifests import FILES, MODEL, added, fingerprint, manifest

FULL = "/dev/full"  # a disk on which there is never any room

# A process for each limit of a file's size in bytes: it is killed by the kernel in the middle of the byte above it.
KILLED = """
import os, resource, signal, sys
from pathlib import Path
from engines.cache import Cache
from tests.engines.manifests import added

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for limit in map(int, sys.argv[2:]):
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        added(Cache(Path(sys.argv[1])))
        os._exit(0)
    print(signal.Signals(-os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).name)
"""
# The same limits, where the process is told instead: as by a disk that is full at that byte.
TOLD = """
import resource, sys
from pathlib import Path
from engines.cache import Cache
from engines.errors import EngineError
from tests.engines.manifests import added

cache = Cache(Path(sys.argv[1]))
kept = cache.root / "choice.json"
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for act in (lambda: added(cache), lambda: cache.keep(kept, "x" * 2000)):
        try:
            act()
        except EngineError as error:
            print(error)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


def names(cache: Cache) -> list[str]:
    """All that lies in the cache, without its locks, which stay."""
    return sorted(path.name for path in cache.root.iterdir() if not path.name.startswith(LOCK))


def ran(code: str, *arguments: object) -> list[str]:
    """The lines that a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_what_was_added_is_found_and_read(cache: Cache) -> None:
    entry = added(cache)
    assert cache.find(MODEL, fingerprint()) == cache.at(entry.folder) == entry
    assert cache.entries() == [entry]
    assert entry.read() == FILES
    assert entry.size() == sum(map(len, FILES.values()))
    assert names(cache) == [entry.folder.name]


def test_an_engine_without_files_is_one_too(cache: Cache) -> None:
    assert added(cache, {}).read() == {}
    assert cache.find(MODEL, fingerprint()).size() == 0


def test_nothing_is_found_where_nothing_is(cache: Cache) -> None:
    with pytest.raises(EngineMissing, match=r"no engine of tiny for fake is built$"):
        cache.find(MODEL, fingerprint())
    assert (cache.entries(), cache.sweep(), cache.root.exists()) == ([], [], False)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"library": "fake 2"}, "library was fake 1, is fake 2"),
        ({"driver": "580.1"}, r"driver was none, is 580\.1"),
        ({"device": "another CPU"}, "device was a CPU, is another CPU"),
        ({"max_batch": 8}, "max_batch was 64, is 8"),
    ],
)
def test_what_is_missing_is_told_with_what_differs(cache: Cache, other: dict[str, Any], words: str) -> None:
    added(cache)
    with pytest.raises(EngineMissing, match=words):
        cache.find(MODEL, fingerprint(**other))
    added(cache, of=fingerprint(**other))
    assert len(cache.entries()) == 2  # side by side


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"), "expected SHA-256 "),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "expected 81 bytes, it has 80"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "expected 81 bytes, it has 82"),
    "empty": (lambda path: path.write_bytes(b""), "expected 81 bytes, it has 0"),
    "gone": (lambda path: path.unlink(), "cannot be read"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_file_that_is_not_what_the_manifest_says_is_refused(cache: Cache, case: str) -> None:
    damage, words = DAMAGE[case]
    entry = added(cache)
    damage(entry.folder / "engine.plan")
    with pytest.raises(EngineMismatch, match=f"engine.plan: .*{words}.*build the engine again"):
        cache.find(MODEL, fingerprint()).read()


def test_a_manifest_that_is_cut_anywhere_is_no_manifest(cache: Cache) -> None:
    path = added(cache).folder / MANIFEST_FILE
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(EngineMismatch, match=MANIFEST_FILE):
            cache.find(MODEL, fingerprint())
        assert [type(found) for found in cache.entries()] == [Broken]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 9999, b"null", b'{"schema": "emostream.engine/9"}'])
def test_what_is_no_manifest_is_refused_in_one_sentence(cache: Cache, content: bytes) -> None:
    folder = added(cache).folder
    (folder / MANIFEST_FILE).write_bytes(content)
    for look in (lambda: cache.find(MODEL, fingerprint()), lambda: cache.at(folder)):
        with pytest.raises(EngineMismatch) as caught:
            look()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_a_folder_without_a_manifest_is_no_engine(cache: Cache) -> None:
    entry = added(cache)
    (entry.folder / MANIFEST_FILE).unlink()
    with pytest.raises(EngineMismatch, match="no readable manifest"):
        cache.find(MODEL, fingerprint())
    (broken,) = cache.entries()
    assert isinstance(broken, Broken)
    assert added(cache).read() == FILES  # and a build mends it
    assert names(cache) == [entry.folder.name]


def test_a_foreign_engine_under_this_name_is_refused_with_the_field_that_differs(cache: Cache) -> None:
    mine, other = added(cache), added(cache, of=fingerprint(device="another CPU"))
    shutil.rmtree(mine.folder)
    other.folder.rename(mine.folder)
    with pytest.raises(EngineMismatch, match="device was another CPU, is a CPU"):
        cache.find(MODEL, fingerprint())


def test_an_engine_takes_the_place_of_one_with_its_fingerprint(cache: Cache) -> None:
    for content in (b"first", b"second"):
        entry = added(cache, {"engine.plan": content})
        assert cache.find(MODEL, fingerprint()).read() == {"engine.plan": content}
    assert names(cache) == [entry.folder.name]


def test_a_build_that_is_killed_at_any_byte_leaves_no_engine(cache: Cache) -> None:
    """In the first file, in the second, in the manifest."""
    limits = (0, 100, len(manifest().as_json()) - 1)
    assert ran(KILLED, cache.root, *limits) == ["SIGXFSZ"] * len(limits)
    left = names(cache)
    assert len(left) == len(limits)
    assert all(name.startswith(TEMPORARY) for name in left)
    assert cache.entries() == []
    with pytest.raises(EngineMissing):
        cache.find(MODEL, fingerprint())
    assert added(cache).read() == FILES  # nobody holds the lock
    assert sorted(path.name for path in cache.sweep()) == left
    assert len(names(cache)) == 1


def test_a_killed_build_does_not_harm_the_engine_that_was_there(cache: Cache) -> None:
    before = added(cache)
    ran(KILLED, cache.root, 100)
    assert cache.find(MODEL, fingerprint()).read() == FILES
    assert cache.entries() == [before]


def test_a_complete_engine_that_was_never_renamed_is_none(cache: Cache) -> None:
    entry = added(cache)
    entry.folder.rename(cache.root / f"{TEMPORARY}{fingerprint().key()[:KEY_DIGITS]}-abc")
    assert cache.entries() == []
    with pytest.raises(EngineMissing):
        cache.find(MODEL, fingerprint())


def test_a_full_disk_is_told_and_nothing_is_left(cache: Cache) -> None:
    made = manifest()
    with (
        cache.locked(made.fingerprint),
        pytest.raises(EngineError, match=r"cannot be kept \(the disk is full\); nothing was written"),
    ):
        cache.add(made, {**FILES, FULL: b"x"})
    assert names(cache) == []


def test_a_disk_that_fills_at_any_byte_leaves_nothing(cache: Cache) -> None:
    limits = (0, 100, len(manifest().as_json()) - 1)
    told = ran(TOLD, cache.root, *limits)
    assert [line.partition(": ")[2] for line in told] == [
        "the engine cannot be kept (File too large); nothing was written"
    ] * (2 * len(limits))
    assert names(cache) == []


def test_a_full_disk_leaves_the_engine_that_was_there(cache: Cache) -> None:
    before = added(cache)
    with cache.locked(fingerprint()), pytest.raises(EngineError):
        cache.add(manifest(), {**FILES, FULL: b"x"})
    assert cache.entries() == [before]
    assert before.read() == FILES


def test_what_is_being_built_is_not_swept_away(cache: Cache) -> None:
    key = fingerprint().key()[:KEY_DIGITS]
    part = cache.root / f"{TEMPORARY}{key}-abc"
    with cache.locked(fingerprint()):
        part.mkdir()
        (part / "engine.plan").write_bytes(b"half")
        assert cache.sweep() == []
        assert part.exists()
    assert cache.sweep() == [part]
    assert not part.exists()


def test_what_is_swept_away_is_gone(cache: Cache) -> None:
    """Also files: what a killed `keep` left, or a stray file in the place of an engine."""
    added(cache)
    for left in (f"{TEMPORARY}choice.json-17", f"{TEMPORARY}{'0' * KEY_DIGITS}-abc-old"):
        (cache.root / left).write_bytes(b"half")
    assert len(cache.sweep()) == 2
    assert len(names(cache)) == 1
    assert cache.sweep() == []


def test_a_file_in_the_place_of_an_engine_gives_way(cache: Cache) -> None:
    entry = added(cache)
    shutil.rmtree(entry.folder)
    entry.folder.write_bytes(b"no folder")
    with pytest.raises(EngineMissing):
        cache.find(MODEL, fingerprint())
    assert added(cache).read() == FILES
    assert names(cache) == [entry.folder.name]


def test_a_small_file_is_kept_whole(cache: Cache) -> None:
    for text in ("old", "new"):
        cache.keep(cache.root / "choice.json", text)
        assert (cache.root / "choice.json").read_text() == text
    assert names(cache) == ["choice.json"]
    assert cache.entries() == []


def test_an_engine_is_removed_once_and_for_whoever_holds_it(cache: Cache) -> None:
    entry = added(cache)
    assert cache.remove(entry)
    assert not cache.remove(entry)  # another process was faster
    assert names(cache) == []
    with pytest.raises(EngineMismatch, match="cannot be read"):
        entry.read()
    with pytest.raises(EngineMissing):
        cache.find(MODEL, fingerprint())


def test_what_is_no_engine_is_removed_too(cache: Cache) -> None:
    entry = added(cache)
    (entry.folder / MANIFEST_FILE).unlink()
    (broken,) = cache.entries()
    assert cache.remove(broken)
    assert names(cache) == []


def test_what_is_being_built_anew_is_not_removed(cache: Cache) -> None:
    entry = added(cache)
    (entry.folder / MANIFEST_FILE).unlink()
    (broken,) = cache.entries()
    with cache.locked(fingerprint()):
        assert not cache.remove(broken)
    added(cache)  # by a build that ended after somebody had looked
    assert not cache.remove(broken)
    assert cache.find(MODEL, fingerprint()).read() == FILES


@pytest.mark.parametrize(
    "act",
    [
        lambda cache: cache.entries(),
        lambda cache: cache.find(MODEL, fingerprint()),
        lambda cache: added(cache),
        lambda cache: cache.keep(cache.root / "choice.json", "{}"),
        lambda cache: cache.at(cache.root),
    ],
    ids=["entries", "find", "add", "keep", "at"],
)
@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_a_cache_that_can_be_none_is_told_in_one_sentence(
    tmp_path: Path, act: Callable[[Cache], object], place: str
) -> None:
    stray = tmp_path / "file"
    stray.write_bytes(b"")
    cache = Cache(stray if place == "a file" else stray / "engines")
    with pytest.raises(EngineError, match=str(stray)) as caught:
        act(cache)
    assert "\n" not in str(caught.value)


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Cache(environment={}).root == Cache(environment={VARIABLE: ""}).root
    assert Cache(environment={}).root == tmp_path / "cache" / "emostream" / "engines"
    assert Cache(environment={VARIABLE: "~/mine"}).root == tmp_path / "home" / "mine"
    assert Cache(environment={VARIABLE: "here"}).root == tmp_path / "here"  # and stays there wherever a child works
    assert Cache(tmp_path / "named", environment={VARIABLE: "/elsewhere"}).root == tmp_path / "named"
    assert Cache().root == Path(os.environ[VARIABLE])


def test_an_entry_is_a_plain_record(cache: Cache) -> None:
    assert added(cache) == Entry(cache.root / manifest().folder_name(), manifest())
