"""`make wheel-test`: what a user gets from the wheel works, in an empty environment and away from the checkout.

1. Build the wheel; every file that git knows under stream, engines and train must be in it, and the licence.
2. Install it into a new environment.
3. From another folder, `emostream demo` must publish emotions: no variable, no checkout and no network helps it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("stream", "engines", "train")
DEMO_TIMEOUT_S = 120
NOWHERE = "http://127.0.0.1:9"


class Refused(Exception):
    """The wheel is not what it should be."""


def main() -> int:
    """Exit code."""
    try:
        with tempfile.TemporaryDirectory(prefix="emostream-wheel-") as name:
            folder = Path(name)
            wheel = build(folder / "dist")
            check_files(wheel)
            emostream = install(wheel, folder / "venv")
            check_published(run_demo(emostream, folder))
    except Refused as problem:
        print(f"wheel-test: {problem}", file=sys.stderr)
        return 1
    return 0


def build(target: Path) -> Path:
    """The wheel's path. It is built in an environment of its own, as pip does for a user."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", target, PROJECT], check=True, stdout=subprocess.DEVNULL
    )
    return next(target.glob("*.whl"))


def check_files(wheel: Path) -> None:
    """Raise Refused unless each file of the packages that git knows is in the wheel, and the licence too."""
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=PROJECT, check=True, capture_output=True, text=True)
    wanted = {name for name in listed.stdout.splitlines() if (PROJECT / name).exists()}
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    if missing := sorted(wanted - held):
        raise Refused(f"{wheel.name} lacks {len(missing)} files, among them {missing[0]}")
    if not any(name.endswith("/licenses/LICENSE") for name in held):
        raise Refused(f"{wheel.name} lacks the LICENSE")
    print(f"wheel-test: {wheel.name} holds all {len(wanted)} files, {wheel.stat().st_size / 1e6:.1f} MB")


def install(wheel: Path, environment: Path) -> Path:
    """The `emostream` command of a new environment that holds nothing but the wheel and what it asks for."""
    venv.create(environment, with_pip=True)
    options = ["-qq", "--no-input", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([environment / "bin" / "python", "-m", "pip", "install", *options, wheel], check=True)
    return environment / "bin" / "emostream"


def check_published(demo: subprocess.CompletedProcess[str]) -> None:
    """Raise Refused unless a demo published emotions."""
    if demo.returncode != 0:
        raise Refused(f"the demo failed: {_ending(demo)}")
    try:
        events = json.loads(demo.stdout)["events"]
    except (ValueError, KeyError):
        raise Refused(f"the demo's answer is not one JSON object with `events`: {demo.stdout[:200]!r}") from None
    if not events.get("emotion.changed"):
        raise Refused(f"the demo published no emotion: {events}")
    print(f"wheel-test: the demo published {events}")


def run_demo(emostream: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`emostream demo` in an empty folder, with an empty home, so that nothing of this machine's user helps it.

    Every proxy leads nowhere: what is downloaded on the way would fail.
    """
    home = folder / "home"
    home.mkdir(exist_ok=True)
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "PYTHON", "EMOSTREAM_"))
    }
    return subprocess.run(
        [emostream, "demo", "--hold", "0", "--json"],
        cwd=home,
        env={**inherited, "HOME": str(home), **{f"{scheme}_proxy": NOWHERE for scheme in ("http", "https", "all")}},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEMO_TIMEOUT_S,
        check=False,
    )


def _ending(run: subprocess.CompletedProcess[str]) -> str:
    return f"exit code {run.returncode} and {run.stderr.strip()[-1000:]!r}"


if __name__ == "__main__":
    sys.exit(main())
