"""What an engine on a GPU promises: a little less than one on a CPU, whose answers are the same bits in any company."""

from __future__ import annotations

import numpy as np
import pytest

from engines.base import example
from engines.build import build
from engines.cache import Cache
from engines.errors import EngineMismatch
from engines.load import load_engine
from engines.options import Options
from engines.store import find_model


def answers_as_the_checkpoint_and_twice_the_same(backend_name: str, model_name: str, cache: Cache) -> None:
    """Built, compared, and asked by hand."""
    model, options = find_model(model_name, environment={}, download=False), Options(max_batch=8, side_px=320)
    entry = build(model, backend_name, options, cache)
    assert entry.manifest.trial.parity.state == "passed"
    assert entry.manifest.trial.status.startswith("run on ")
    engine = load_engine(model, backend_name, options, entry)
    batch = example(model.spec, 5)  # one that has to be filled up
    first = engine.infer(batch)
    kept = {output: values.tobytes() for output, values in first.items()}
    alone = engine.infer(batch[:1])
    again = engine.infer(batch)
    assert tuple(first) == model.spec.outputs
    assert {output: values.tobytes() for output, values in again.items()} == kept
    assert {output: values.tobytes() for output, values in first.items()} == kept  # nobody wrote into it
    for output, values in alone.items():
        assert values.shape == (1, *first[output].shape[1:])
        np.testing.assert_allclose(values, first[output][:1], rtol=1e-3, atol=1e-3)
    engine.close()
    engine.close()
    with pytest.raises(EngineMismatch, match="closed"):
        engine.infer(batch)
