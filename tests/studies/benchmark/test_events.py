"""The event-driven convolution that the benchmark times is a convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from spiking_yolo.studies.benchmark.events import RATES, event_convolution, event_curves


@pytest.mark.parametrize(("k", "rate"), [(1, 0.3), (3, 0.05), (3, 1.0), (3, 0.0), (5, 0.2)])
def test_a_sum_over_events_is_the_convolution(k: int, rate: float):
    generator = torch.Generator().manual_seed(k)
    weight = torch.randn(6, 4, k, k, generator=generator, dtype=torch.float64)
    x = torch.randn(1, 4, 7, 9, generator=generator, dtype=torch.float64)
    x *= torch.rand(x.shape, generator=generator) < rate
    got = event_convolution(x, weight.permute(2, 3, 1, 0).contiguous())
    assert torch.allclose(got, F.conv2d(x, weight, padding=k // 2), atol=1e-12)


def test_every_layer_has_a_time_per_rate(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("spiking_yolo.benchmark.events.LAYERS", {"tiny": (2, 3, 5, 3)})
    (row,) = event_curves(torch.device("cpu"), repeats=1).values()
    assert row["dense_ms"] > 0 and list(row["event_ms"]) == [str(rate) for rate in RATES]
