"""From a checkpoint to model folders that cameras use: what leaves the training.

Reads best in this order: emotion.py (all of it, and the gates) -> onnx_file.py -> float16.py, int8.py with ranges.py ->
parity.py, worth.py -> card.py -> model_folder.py. `train/detector/export.py` uses parts of it.
"""
