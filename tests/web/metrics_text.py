"""Metrics as whoever scrapes them sees them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from stream.web.metrics import Metrics


def samples(text: str) -> Iterator[Sample]:
    """Every sample in the text of a scrape."""
    for family in text_string_to_metric_families(text):
        yield from family.samples


def scraped(metrics: Metrics) -> list[Sample]:
    text, media_type = metrics.expose()
    assert media_type.startswith("text/plain")
    return list(samples(text.decode()))


def value(found: list[Sample], name: str, **labels: str) -> float | None:
    """Of the one sample with exactly these labels; None where there is none."""
    matching = [sample.value for sample in found if sample.name == name and sample.labels == labels]
    assert len(matching) <= 1
    return matching[0] if matching else None
