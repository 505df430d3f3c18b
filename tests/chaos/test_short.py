"""The short form of every scenario: each figure is within its reach. `make chaos` plays the long one."""

from __future__ import annotations

import pytest

from tests.chaos.scenarios import SHORT
from tests.chaos.stage import Stage

pytestmark = [pytest.mark.redis, pytest.mark.alone, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage.build(tmp_path_factory.mktemp("chaos"))


@pytest.mark.parametrize("name", SHORT)
def test_every_figure_is_within_its_reach(stage: Stage, name: str) -> None:
    missed = [str(figure) for figure in SHORT[name](stage) if not figure.reached]
    assert not missed
