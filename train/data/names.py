"""One order of classes for every source, whatever a data set calls and numbers them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.spec import EMOTIONS

CONTEMPT = "contempt"
ORDER = (*EMOTIONS, CONTEMPT)

SPELLINGS = {
    "angry": ("angry", "anger"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "fearful", "afraid", "scared"),
    "happy": ("happy", "happiness", "joy", "joyful"),
    "sad": ("sad", "sadness"),
    "surprise": ("surprise", "surprised"),
    "neutral": ("neutral", "neutrality"),
    "contempt": ("contempt", "contemptuous"),
}
_EMOTION = {spelling: emotion for emotion, spellings in SPELLINGS.items() for spelling in spellings}


def emotion_of(name: str) -> str | None:
    """The emotion of ORDER that a name in a file or folder means; None when it means none."""
    return _EMOTION.get(name.strip().casefold())


def numbered(emotions: Sequence[str] | NDArray[np.str_]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The classes present, in the order of ORDER, and (N,) the index of each row's emotion in them."""
    present = set(emotions)
    classes = tuple(emotion for emotion in ORDER if emotion in present)
    index = {emotion: number for number, emotion in enumerate(classes)}
    return classes, np.array([index[emotion] for emotion in emotions], np.int64)
