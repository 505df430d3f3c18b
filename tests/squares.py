"""A world that tiny networks understand: a "face" is a light square on black, its brightness is its mood.

The whole path can run on it with real engines, real video and a real Redis, and the right answer is known exactly. The
detector has YuNet's twelve outputs and finds light areas; the emotion network calls a white crop happy and a grey one
sad.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.spec import EMOTIONS, MODEL_FILE, ModelSpec, sha256_of

HAPPY, MIDDLE, SAD = 250, 200, 150  # grey levels: of squares, and between both moods
GAIN = 1.2  # a cell that the darker square fills scores 0.7
SQUARE_PX = 96
SIZE = (320, 240)  # width, height of the clips
STRIDES = (8, 16, 32)
EYES_AND_MOUTH = ((-0.2, -0.15), (0.2, -0.15), (0.0, 0.0), (-0.15, 0.2), (0.15, 0.2))  # from the centre, in widths


def make_models(folder: Path) -> tuple[Path, Path]:
    """The folders of both models: face, emotion."""
    return _face(folder / "face"), _emotion(folder / "emotion")


def make_clip(path: Path, moods: Sequence[tuple[float, int | None]], fps: int = 25, start_px: int = 60) -> Path:
    """H.264: for so many seconds each, a square of this grey level (None: nothing) that drifts to the right."""
    width, height = SIZE
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = fps  # as cameras do; who falls behind waits for a key frame
        number = 0
        for seconds, level in moods:
            for _ in range(round(seconds * fps)):
                picture = np.zeros((height, width, 3), np.uint8)
                if level is not None:
                    x, y = start_px + number // 2, 72
                    picture[y : y + SQUARE_PX, x : x + SQUARE_PX] = level
                frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
                frame.pts = number
                container.mux(stream.encode(frame))
                number += 1
        container.mux(stream.encode(None))
    return path


def _face(folder: Path) -> Path:
    """Only stride 32 finds anything: the mean brightness of its cells is the score, the box is a square around it."""
    nodes, weights = [], {}
    for stride in STRIDES:
        mean = f"mean_{stride}"
        nodes.append(
            helper.make_node("AveragePool", ["input"], [mean], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        gain = GAIN / (3 * 255) if stride == 32 else 0.0
        half_box = [0.5, 0.5, math.log(SQUARE_PX / stride), math.log(SQUARE_PX / stride)]
        points = [0.5 + part * SQUARE_PX / stride for point in EYES_AND_MOUTH for part in point]
        heads = {"cls": (gain, [0.0]), "obj": (gain, [0.0]), "bbox": (0.0, half_box), "kps": (0.0, points)}
        for head, (slope, bias) in heads.items():
            name = f"{head}_{stride}"
            weights[f"w_{name}"] = np.full((len(bias), 3, 1, 1), slope, np.float32)
            weights[f"b_{name}"] = np.array(bias, np.float32)
            nodes += [
                helper.make_node("Conv", [mean, f"w_{name}", f"b_{name}"], [f"map_{name}"]),
                helper.make_node("Transpose", [f"map_{name}"], [f"last_{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"last_{name}", f"shape_{head}"], [name]),
            ]
            weights[f"shape_{head}"] = np.array([0, -1, len(bias)], np.int64)
    outputs = {
        f"{head}_{stride}": n for head, n in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)) for stride in STRIDES
    }
    shapes = {name: ["batch", f"cells_{name}", columns] for name, columns in outputs.items()}
    _write(folder, nodes, weights, ["batch", 3, "height", "width"], shapes)
    return _spec(
        folder, name="light-squares", task="face", input_shape=(3, 0, 0), stride=32, color="bgr", mean=(0.0,) * 3,
        std=(1 / 255,) * 3, outputs=tuple(outputs), decoding="yunet", score_threshold=0.25, nms_threshold=0.02,
    )  # fmt: skip


def _emotion(folder: Path) -> Path:
    """Logits that grow with the brightest pixel for happy and fall for sad; both are 0 at MIDDLE, all others below."""
    rise = {"happy": 40.0, "sad": -40.0}
    bias = [-rise[label] * MIDDLE / 255 if label in rise else -3.0 for label in EMOTIONS]
    weights = {
        "w": np.array([rise.get(label, 0.0) for label in EMOTIONS], np.float32).reshape(-1, 1, 1, 1),
        "b": np.array(bias, np.float32),
    }
    nodes = [
        helper.make_node("GlobalMaxPool", ["input"], ["brightest"]),
        helper.make_node("Conv", ["brightest", "w", "b"], ["map"]),
        helper.make_node("Flatten", ["map"], ["logits"]),
    ]
    _write(folder, nodes, weights, ["batch", 1, 48, 48], {"logits": ["batch", len(EMOTIONS)]})
    template = tuple((24 + x * 48, 24 + y * 48) for x, y in EYES_AND_MOUTH)
    return _spec(
        folder, name="brightness", task="emotion", input_shape=(1, 48, 48), stride=1, color="luma", mean=(0.0,),
        std=(1.0,), outputs=("logits",), labels=EMOTIONS, template=template,
    )  # fmt: skip


def _write(
    folder: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    shape: list[int | str],
    outputs: dict[str, list[int | str]],
) -> None:
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, of) for name, of in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())


def _spec(folder: Path, **fields: object) -> Path:
    digest = sha256_of(folder / MODEL_FILE)
    ModelSpec(schema="emostream.model/1", precision="fp32", sha256=digest, **fields).write(folder)
    return folder
