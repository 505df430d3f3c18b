"""What every Engine promises, whatever computes it. An implementation gives `load` and inherits the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from engines.base import Batch, Engine, Outputs
from engines.errors import EngineMismatch
from engines.spec import ModelSpec

Load = Callable[..., Engine]


def random_batch(spec: ModelSpec, count: int, seed: int = 1) -> Batch:
    """(count, C, H, W) of plausible values; free sides are two strides."""
    channels, height, width = spec.input_shape
    shape = (count, channels, height or 2 * spec.stride, width or 3 * spec.stride)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (spec.mean, spec.std))
    batch: Batch = ((pixels / 255 - mean) / std).astype(np.float32)
    return batch


def same(first: Outputs, second: Outputs) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(first[name].tobytes() == second[name].tobytes() for name in first)


class EngineContract:
    @pytest.fixture
    def load(self) -> Load:
        """`load(**changes of the spec)`: an engine of the model under test."""
        raise NotImplementedError

    @pytest.fixture
    def engine(self, load: Load) -> Iterator[Engine]:
        engine = load()
        yield engine
        engine.close()

    def test_it_gives_the_outputs_that_the_spec_names(self, engine: Engine) -> None:
        count = min(2, engine.max_batch)
        outputs = engine.infer(random_batch(engine.spec, count))
        assert tuple(outputs) == engine.spec.outputs
        for values in outputs.values():
            assert values.dtype == np.float32
            assert len(values) == count
            assert np.isfinite(values).all()

    def test_the_same_batch_gives_the_same_bits(self, load: Load, engine: Engine) -> None:
        batch = random_batch(engine.spec, 1)
        other = load()
        assert same(engine.infer(batch), engine.infer(batch))
        assert same(engine.infer(batch), other.infer(batch))
        other.close()

    def test_different_pixels_give_different_answers(self, engine: Engine) -> None:
        assert not same(engine.infer(random_batch(engine.spec, 1)), engine.infer(random_batch(engine.spec, 1, seed=2)))

    def test_an_answer_does_not_depend_on_its_batch(self, engine: Engine) -> None:
        batch = random_batch(engine.spec, engine.max_batch)
        alone = [engine.infer(batch[row : row + 1]) for row in range(len(batch))]
        for size in sorted({1, 2, 3, 5, 8, 13, 16, engine.best_batch, engine.max_batch}):
            if size <= engine.max_batch:
                outputs = engine.infer(batch[:size])
                for row in range(size):
                    assert same({name: values[row : row + 1] for name, values in outputs.items()}, alone[row]), size

    def test_nor_on_its_place_in_the_batch(self, engine: Engine) -> None:
        if engine.max_batch == 1:
            return
        batch = random_batch(engine.spec, min(8, engine.max_batch))
        forward, backward = engine.infer(batch), engine.infer(np.ascontiguousarray(batch[::-1]))
        assert same(forward, {name: values[::-1] for name, values in backward.items()})

    def test_outputs_belong_to_the_caller(self, engine: Engine) -> None:
        batch, other = random_batch(engine.spec, 1), random_batch(engine.spec, 1, seed=2)
        kept = engine.infer(batch)
        copies = {name: values.copy() for name, values in kept.items()}
        for values in engine.infer(other).values():
            values[...] = 7.0  # writable, and nobody else's
        assert same(kept, copies)
        assert same(engine.infer(batch), copies)
        engine.close()
        assert same(kept, copies)

    def test_the_batch_is_only_read(self, engine: Engine) -> None:
        batch = random_batch(engine.spec, 1)
        before = batch.tobytes()
        batch.flags.writeable = False
        for values in engine.infer(batch).values():
            values[...] = 7.0
        assert batch.tobytes() == before

    def test_a_batch_that_is_a_view_is_as_good(self, engine: Engine) -> None:
        batch = random_batch(engine.spec, 1)
        view = np.asfortranarray(batch)[:, :, ::-1, ::-1]
        assert same(engine.infer(view), engine.infer(np.ascontiguousarray(view)))

    def test_a_batch_that_does_not_fit_is_refused(self, engine: Engine) -> None:
        spec, good = engine.spec, random_batch(engine.spec, 1)
        wrong: list[Any] = [
            good.astype(np.float64),
            good.astype(np.uint8),
            good[0],
            np.concatenate([good, good], axis=1),
            np.concatenate([good, good[..., :1]], axis=3),
            good[:, :, :0],
        ]
        for batch in wrong:
            with pytest.raises(EngineMismatch, match=spec.name):
                engine.infer(batch)
        engine.infer(good)  # and nothing broke

    def test_a_batch_of_none_or_too_many_is_refused(self, engine: Engine) -> None:
        for count in (0, engine.max_batch + 1):
            with pytest.raises(EngineMismatch, match=f"batch of {count}"):
                engine.infer(random_batch(engine.spec, count))

    def test_its_best_batch_is_allowed(self, engine: Engine) -> None:
        assert 1 <= engine.best_batch <= engine.max_batch

    def test_the_fingerprint_names_all_that_decides_an_answer(self, load: Load, engine: Engine) -> None:
        again, other = load(), load(temperature=engine.spec.temperature + 0.5)
        assert again.fingerprint == engine.fingerprint != other.fingerprint
        assert engine.spec.sha256[:16] in engine.fingerprint
        assert engine.fingerprint.isprintable()
        again.close()
        other.close()

    def test_it_closes_twice_and_then_computes_no_more(self, engine: Engine) -> None:
        engine.close()
        engine.close()
        with pytest.raises(EngineMismatch, match="closed"):
            engine.infer(random_batch(engine.spec, 1))
