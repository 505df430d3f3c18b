"""The gate on skipped tests: what it allows, what it refuses, and that refusing fails the run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import ALLOWED, Skip, not_allowed, read_rules

PROJECT = Path(__file__).resolve().parent.parent
GPU = Skip("tests/test_engine.py::test_runs[tensorrt]", "needs an NVIDIA GPU")


@pytest.mark.parametrize(
    ("rule", "allows"),
    [
        ("tests/test_engine.py::test_runs[tensorrt] | needs an NVIDIA GPU", True),
        ("*[tensorrt] | needs an NVIDIA GPU*", True),
        ("tests/test_engine.py::* | needs *", True),
        ("*[tensorrt] | no Redis", False),  # another reason
        ("tests/test_engine.py | needs an NVIDIA GPU", False),  # the whole name, not its beginning
        ("*[t] | *", False),  # brackets are letters, not a set of them
    ],
)
def test_a_rule_names_a_test_and_its_reason(rule: str, allows: bool) -> None:
    assert (not_allowed([GPU], read_rules(rule)) == []) is allows


@pytest.mark.parametrize("line", ["tests/test_engine.py", "tests/test_engine.py |", "| no reason"])
def test_a_rule_without_its_reason_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"line 2: expected `test \| reason`"):
        read_rules(f"# why\n{line}\n")


def test_comments_and_empty_lines_are_no_rules() -> None:
    assert read_rules("# *|*\n\n") == []


def test_our_own_list_is_readable() -> None:
    read_rules(ALLOWED.read_text())


def _run(folder: Path, **modules: str) -> subprocess.CompletedProcess[str]:
    for name, body in modules.items():
        (folder / f"{name}.py").write_text(f"import pytest\n{body}\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.skips",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        folder,
        folder,
    ]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


def test_a_run_without_skips_passes(tmp_path: Path) -> None:
    run = _run(tmp_path, test_one="def test_it(): pass\n@pytest.mark.xfail\ndef test_expected(): assert False")
    assert run.returncode == pytest.ExitCode.OK
    assert "skipped tests" not in run.stdout


def test_an_unlisted_skip_fails_the_run_and_stands_in_the_table(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        test_one="def test_it(): pass\ndef test_away(): pytest.skip('nobody wrote this down')",
        test_two="pytest.skip('a whole module', allow_module_level=True)",
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "NOT ALLOWED  test_one.py::test_away: nobody wrote this down" in run.stdout
    assert "NOT ALLOWED  test_two.py: a whole module" in run.stdout
    assert re.search(r"1 passed, 2 skipped in ", run.stdout.splitlines()[-1]), "pytest's own line has to stay the last"
