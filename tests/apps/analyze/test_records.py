"""The figures of a layer over images, by a computation of its own."""

import math

import pytest
import torch

from spiking_yolo.apps.analyze.run import PARTS, Chain, LayerTotals


def random_chain(seed, shape=(1, 3, 4, 4)) -> Chain:
    g = torch.Generator().manual_seed(seed)
    return Chain(*(torch.rand(shape, generator=g, dtype=torch.float64) for _ in range(6)))


def totals_of(chains):
    totals = LayerTotals("layers_3_act")
    for links in chains:
        totals.add(links, 12.0, 0.25)
    return totals


def test_norms_and_shares_over_images():
    chains = [random_chain(1), random_chain(2)]
    totals = totals_of(chains)
    together = [
        torch.cat(tensors) for tensors in zip(*(vars(c).values() for c in chains), strict=True)
    ]
    ann, clipped, grid, ideal, even, snn = together
    assert totals.relative(totals.error) == pytest.approx(float((snn - ann).norm() / ann.norm()))
    row = totals.row()
    for name, part in zip(
        PARTS, (clipped - ann, grid - clipped, ideal - grid, even - ideal, snn - even), strict=True
    ):
        assert row[name] == pytest.approx(float(part.norm() / ann.norm()))
        share = (part * (snn - ann)).sum() / (snn - ann).norm() / ann.norm()
        assert totals.shares()[name] == pytest.approx(float(share))
    assert sum(totals.shares().values()) == pytest.approx(totals.relative(totals.error))
    assert row["spikes"] == 12.0 and row["rate"] == 0.25
    assert row["share clipping"] == totals.shares()["clipping"]


def test_nothing_to_compare_with_is_nan():
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    totals = LayerTotals("x")
    totals.add(Chain(zero, zero, zero, zero, zero, zero + 1), 0.0, 0.0)
    row = totals.row()
    assert math.isnan(row["error"]) and math.isnan(row["clipping"])
