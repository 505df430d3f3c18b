"""Dockerfiles and compose.yaml by the rules that matter, without a container engine."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream import config
from tests.deploy.conftest import DEPLOY, PROJECT

USER = "10001:10001"
DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")  # a whole version, not `latest`, not `3.11`
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, the rest of its line) of a Dockerfile, continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / name).read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def arguments(name: str, instruction: str) -> list[str]:
    return [rest for word, rest in instructions(name) if word == instruction]


@pytest.mark.parametrize("name", DOCKERFILES)
class TestDockerfile:
    def test_it_has_two_stages_on_the_same_pinned_base(self, name: str) -> None:
        stages = [rest.split() for rest in arguments(name, "FROM")]
        assert [stage[1:] for stage in stages] == [["AS", "build"], []]
        assert stages[0][0] == stages[1][0]
        assert PINNED.fullmatch(stages[0][0])

    def test_it_copies_what_exists_and_the_context_holds_it(self, name: str) -> None:
        ignored = (PROJECT / ".dockerignore").read_text().split()
        for rest in arguments(name, "COPY"):
            *sources, _ = rest.split()
            if sources[0] == "--from=build":
                continue
            assert all((PROJECT / source).exists() and f"!{source}" in ignored for source in sources)

    def test_the_whole_package_is_in_it(self, name: str) -> None:
        copied = {source for rest in arguments(name, "COPY") for source in rest.split()[:-1]}
        assert {"stream", "engines", "train", "pyproject.toml", PYPROJECT["readme"]} <= copied

    def test_it_installs_extras_that_exist(self, name: str) -> None:
        extras = [extra for run in arguments(name, "RUN") for extra in re.findall(r"'\.\[([\w,-]+)\]'", run)]
        assert len(extras) == 1
        assert set(extras[0].split(",")) <= PYPROJECT["optional-dependencies"].keys()

    def test_what_apt_and_pip_loaded_is_not_kept(self, name: str) -> None:
        for run in arguments(name, "RUN"):
            assert ("apt-get" in run) == ("rm -rf /var/lib/apt/lists/*" in run)
            assert run.count("apt-get install") == run.count("--no-install-recommends")
            assert run.count("pip install") == run.count("--no-cache-dir")

    def test_it_runs_as_nobody_in_particular_and_writes_to_its_volume(self, name: str) -> None:
        order = [word for word, _ in instructions(name)]
        assert arguments(name, "USER") == [USER]
        assert order.index("USER") > max(number for number, word in enumerate(order) if word in {"RUN", "COPY"})
        (volume,) = arguments(name, "VOLUME")
        environment = dict(pair.split("=", 1) for pair in shlex.split(arguments(name, "ENV")[0]))
        folders = [environment[key] for key in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")]
        assert all(Path(folder).is_relative_to(volume) for folder in folders)
        assert environment["PYTHONDONTWRITEBYTECODE"] == "1"

    def test_it_starts_the_command_line_and_asks_it_how_it_is(self, name: str) -> None:
        assert json.loads(arguments(name, "ENTRYPOINT")[0]) == ["emostream"]
        assert "emostream" in PYPROJECT["scripts"]
        assert json.loads(arguments(name, "CMD")[0])[0] == "run"
        check = arguments(name, "HEALTHCHECK")[0]
        python, option, code = json.loads(check.partition(" CMD ")[2])
        assert (python, option) == ("python", "-c")
        ast.parse(code)
        assert f":{arguments(name, 'EXPOSE')[0]}/healthz" in code


class TestCompose:
    def test_all_are_there(self) -> None:
        assert set(SERVICES) == {"redis", "cameras", "worker", "prometheus", "grafana"}

    @pytest.mark.parametrize("name", sorted(SERVICES))
    def test_each_is_locked_up_pinned_and_watched(self, name: str) -> None:
        service = SERVICES[name]
        assert PINNED.fullmatch(service["image"])
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["user"].split(":")[0] not in {"0", "root"}
        assert service["healthcheck"]["test"][0] == "CMD"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert "privileged" not in service

    def test_whatever_it_names_exists(self) -> None:
        for service in SERVICES.values():
            for source, _, *mode in (volume.split(":") for volume in service.get("volumes", ())):
                if source.startswith("."):
                    assert (DEPLOY / source).exists()
                    assert mode == ["ro"]
                else:
                    assert source in COMPOSE["volumes"]
            assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
            assert service.get("depends_on", {}).keys() <= SERVICES.keys()
            if "build" in service:
                assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
                assert service["image"] == f"emostream:{PYPROJECT['version']}"

    def test_secrets_stay_out_of_git(self) -> None:
        ignored = (PROJECT / ".gitignore").read_text().split()
        for secret in COMPOSE["secrets"].values():
            assert Path(secret["file"]).parent == Path("secrets")
        assert "/deploy/secrets/" in ignored

    def test_the_worker_is_configured_for_its_neighbours(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("t0ken\n")
        written = (DEPLOY / "emostream.compose.yaml").read_text()
        (tmp_path / "emostream.yaml").write_text(written.replace("/run/secrets/web_token", str(tmp_path / "token")))
        found = config.load(tmp_path / "emostream.yaml", {})
        served = SERVICES["cameras"]["command"][0].rpartition(":")[2]
        assert [camera.source for camera in found.cameras] == [
            f"rtsp://cameras:{served}/lobby", f"rtsp://cameras:{served}/hall"
        ]  # fmt: skip
        assert found.redis.url == "redis://redis:6379/0"
        assert found.web.token == "t0ken"
        port = str(found.web.address).rpartition(":")[2]
        worker = SERVICES["worker"]
        assert worker["ports"][0].endswith(f":{port}")
        assert any(f":{port}/healthz" in part for part in worker["healthcheck"]["test"])
        assert any(str(found.outbox.path).startswith(volume.split(":")[1]) for volume in worker["volumes"])
        scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]
        assert scraped["static_configs"][0]["targets"] == [f"worker:{port}"]
        assert scraped["authorization"]["credentials_file"] == "/run/secrets/web_token"
        assert "web_token" in SERVICES["prometheus"]["secrets"]
        seconds = int(worker["stop_grace_period"].removesuffix("s"))
        assert seconds > found.run.drain_s
