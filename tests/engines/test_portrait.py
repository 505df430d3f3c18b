"""The one face that may be shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines import portrait
from engines.errors import ModelInvalid


def test_it_is_there() -> None:
    assert portrait.portrait().shape == (600, 512, 3)


def test_without_it_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "portrait.jpg"
    monkeypatch.setattr(portrait, "PORTRAIT", damaged)
    with pytest.raises(ModelInvalid, match=r"portrait\.jpg: the portrait is missing or damaged; install"):
        portrait.portrait()
    damaged.write_bytes(b"no picture")
    with pytest.raises(ModelInvalid, match="missing or damaged"):
        portrait.portrait()
