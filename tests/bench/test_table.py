"""The regression table in a Markdown file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.bench import table
from stream.errors import ConfigError

TEXT = f"# Figures\r\n\r\nbefore\n\n{table.BEGIN}\n{table.END}\n\nafter | it, without an end of line"


def figures(date: str = "2026-11-27", **parts: Any) -> dict[str, Any]:
    told = {
        "cpu": "A CPU sse4_2 avx avx2",
        "cores": 2,
        "commit": "88c1b13",
        "date": date,
        "engines": {"face": "onnxruntime-1.32.0/face-1/threads-1", "emotion": "onnxruntime-1.32.0/emotion-2/threads-1"},
    }
    return {"machine": told, "parts": parts}


def written(folder: Path, text: str = TEXT) -> Path:
    path = folder / "README.md"
    path.write_bytes(text.encode())
    return path


def rows(path: Path) -> list[list[str]]:
    lines = path.read_text().partition(table.BEGIN)[2].partition(table.END)[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_rows_follow_each_other_below_one_heading(tmp_path: Path) -> None:
    path = written(tmp_path)
    cost = {"decode_ms": 3.621, "ratio_5hz": 1.354, "ratio_every_frame": 3.0}
    table.append(path, figures(cost=cost, start={"first_event_s": 1.2}))
    table.append(path, figures("2026-11-28"))
    heading, line, first, second = rows(path)
    assert tuple(heading) == table.HEADINGS
    assert set(line) == {"---"}
    assert first[:7] == ["2026-11-27", "88c1b13", "A CPU (avx2), 2 cores", "onnxruntime-1.32.0", "3.621", "1.354", "3"]
    assert first[heading.index("start s")] == "1.2"
    assert second[0] == "2026-11-28"
    assert set(second[4:]) == {""}
    assert {len(row) for row in rows(path)} == {len(table.HEADINGS)}


def test_nothing_else_in_the_file_changes(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.chmod(0o640)
    table.append(path, figures())
    before, _, rest = path.read_bytes().decode().partition(table.BEGIN)
    after = rest.partition(table.END)[2]
    assert f"{before}{table.BEGIN}\n{table.END}{after}" == TEXT
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    path, link = written(tmp_path), tmp_path / "link.md"
    link.symlink_to(path)
    table.append(link, figures())
    assert link.is_symlink()
    assert len(rows(path)) == 3


def test_a_rival_that_was_not_run_is_blank(tmp_path: Path) -> None:
    path = written(tmp_path)
    rivals = {"rows": {"naive": {"not_run": "no PyTorch"}, "recipe": {"not_run": None, "against_emostream": 15.61}}}
    table.append(path, figures(rivals=rivals))
    heading, _, row = rows(path)
    told = dict(zip(heading, row, strict=True))
    assert (told["vs naive"], told["vs recipe"]) == ("", "15.61")


@pytest.mark.parametrize(
    "text", ["no table", table.BEGIN, f"{table.END}\n{table.BEGIN}", TEXT + TEXT, f"{TEXT}{table.END}"]
)
def test_a_file_without_exactly_one_table_is_left_alone(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match="exactly one"):
        table.append(path, figures())
    assert path.read_bytes().decode() == text


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, words in {"binary": "no text", "missing": "cannot be read", ".": "cannot be read"}.items():
        with pytest.raises(ConfigError, match=words):
            table.check(tmp_path / name)


def test_the_table_of_this_project_can_take_a_row() -> None:
    table.check(Path(__file__).resolve().parents[2] / "stream" / "README.md")
