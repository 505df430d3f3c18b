"""How the live page sees frames: behind the protocols of detector and classifier, told about every analysed frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream.detectors.gaze import Area, Boxes
from stream.pipeline import Parts
from stream.probe import Observer
from stream.records import Faces, Frame, Scores, Tracks
from stream.web.preview import Preview
from stream.web.view import LiveView


def around(parts: Parts, view: LiveView, preview: Preview) -> Parts:
    """The same parts, looked at: called again for each engine that takes over."""
    view.engines(parts.engines)
    return _Onlooker(parts, view, preview).around()


class _Onlooker(Observer):
    def __init__(self, parts: Parts, view: LiveView, preview: Preview) -> None:
        super().__init__(parts)
        self._view, self._preview = view, preview
        self._found: dict[str, list[Boxes]] = {}  # of each camera's frame that is on its way

    def search(self, frames: Sequence[Frame], areas: Sequence[Sequence[Area]]) -> list[Faces]:
        return self._note(frames, super().search(frames, areas))

    def follow(self, frames: Sequence[Frame], expected: Sequence[Boxes]) -> list[Faces]:
        return self._note(frames, super().follow(frames, expected))

    def classify(
        self, frames: Sequence[Frame], tracks: Sequence[Tracks], due: Sequence[Sequence[bool]]
    ) -> list[Scores]:
        for frame, seen in zip(frames, tracks, strict=True):
            found = self._found.pop(frame.camera_id, [])
            self._view.analysed(frame)
            self._preview.offer(frame, np.concatenate([*found, np.zeros((0, 4), np.float32)]), seen)
        return super().classify(frames, tracks, due)

    def _note(self, frames: Sequence[Frame], faces: list[Faces]) -> list[Faces]:
        for frame, found in zip(frames, faces, strict=True):
            self._found.setdefault(frame.camera_id, []).append(found.boxes)
        return faces
