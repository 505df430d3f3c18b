"""`make audit`: known vulnerabilities of the packages in .venv, as the Python Packaging Advisory Database tells them.

pip-audit is installed into an environment that is thrown away: what it needs is not ours. Where it or its index cannot
be reached, nothing was audited: one sentence says so, and the exit code is 0. It is 1 when a vulnerability is known.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Any

OURS = "emostream"
TIMEOUT_S = 300


def main() -> int:
    """Exit code."""
    with tempfile.TemporaryDirectory(prefix="emostream-audit-") as name:
        found = audit(Path(name))
    if isinstance(found, str):
        print(f"audit: not run; {found}")
        return 0
    print(summary(found))
    return int(any(package["vulns"] for package in found if "vulns" in package))


def audit(folder: Path) -> list[dict[str, Any]] | str:
    """What pip-audit says of each package, or why nothing was audited."""
    venv.create(folder / "venv", with_pip=True)
    python, report = folder / "venv" / "bin" / "python", folder / "report.json"
    if problem := failed(python, "pip", "install", "-qq", "--no-input", "--disable-pip-version-check", "pip-audit"):
        return f"pip-audit cannot be installed ({problem})"
    where = ("--path", sysconfig.get_path("purelib"))
    problem = failed(python, "pip_audit", *where, "--format", "json", "--output", report, "--progress-spinner", "off")
    if not report.exists():  # with a vulnerability it fails as well, but then there is a report
        return f"the index of vulnerabilities cannot be reached ({problem})"
    packages: list[dict[str, Any]] = json.loads(report.read_text())["dependencies"]
    if not any("vulns" in package for package in packages):
        return f"the index of vulnerabilities that is reached here knows none of the {len(packages)} packages"
    return packages


def failed(python: Path, module: str, *arguments: object) -> str | None:
    """The last line of what a module said when it failed."""
    command = [str(python), "-m", module, *map(str, arguments)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S} s"
    lines = ended.stderr.strip().splitlines() or ["it said nothing"]
    return lines[-1] if ended.returncode else None


def summary(packages: list[dict[str, Any]]) -> str:
    """A line for each vulnerability, one for what was left out, one for all."""
    lines = []
    for package in packages:
        for known in package.get("vulns", ()):
            mended = ", ".join(known["fix_versions"]) or "none yet"
            lines.append(f"{package['name']} {package['version']}: {known['id']}, fixed in {mended}")
    audited = [package for package in packages if "vulns" in package]
    left_out = [package["name"] for package in packages if "vulns" not in package and package["name"] != OURS]
    if left_out:
        lines.append(f"audit: not known to the index, and so not audited: {', '.join(left_out)}")
    count = sum(len(package["vulns"]) for package in audited)
    lines.append(f"audit: {len(audited)} packages, {count or 'no'} known vulnerabilities")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
