"""The energy proxy against sums done by hand."""

import pytest

from spiking_yolo.convert.registry import get_recipe
from spiking_yolo.metrics.energy import EnergyCosts, Work, exponentials, spike_value
from spiking_yolo.recipe import Recipe

COSTS = EnergyCosts(mac=5, ac=1, exp=50, shift=0.25)


def test_ann_by_hand():
    assert COSTS.ann(2e9) == 10
    assert EnergyCosts().ann(2_782_480_896) == pytest.approx(12.7994, abs=1e-4)  # 2.78 G times 4.6 pJ


def test_quantised_mac_lies_between_an_accumulate_and_a_full_one():
    assert COSTS.quantised_mac(0) == 1
    assert COSTS.quantised_mac(8) == 1 + 4 / 4
    assert COSTS.quantised_mac(32) == COSTS.quantised_mac(40) == 5
    assert COSTS.quantised(3e9, 8) == 6


def test_both_accounts_by_hand():
    work = Work(t=10, operations=4e9, analogue_macs=1e9, neurons=2e7)
    assert work.optimistic(COSTS) == 5 * 1 + 4 * 1
    assert work.conservative(COSTS) == pytest.approx(9 + 10 * 2e7 / 1e9)
    graded = Work(10, 4e9, 1e9, 2e7, value="any", exponentials=3)
    assert graded.optimistic(COSTS) == work.optimistic(COSTS)
    assert graded.conservative(COSTS) == pytest.approx(5 + 4 * 5 + 10 * 0.02 * (1 + 3 * 50))
    shifted = Work(10, 4e9, 1e9, 2e7, value="power of two")
    assert shifted.conservative(COSTS) == pytest.approx(5 + 4 * 1.25 + 10 * 0.02)


@pytest.mark.parametrize("value", ["none", "power of two", "any"])
@pytest.mark.parametrize("conservative", [False, True])
def test_break_even_operations_spend_exactly_the_budget(value, conservative):
    work = Work(8, 0, 1e8, 1e6, value, exponentials=2)
    even = Work(8, work.break_even_operations(COSTS, 12.5, conservative), 1e8, 1e6, value, 2)
    spent = even.conservative(COSTS) if conservative else even.optimistic(COSTS)
    assert spent == pytest.approx(12.5)
    assert work.break_even_operations(COSTS, 0.1, conservative) < 0


def test_only_msat_sends_values_and_computes_exponentials():
    plain = get_recipe("channel-norm")
    assert spike_value(plain) == "none" and exponentials(plain) == 0
    msat = Recipe("m").with_settings({"msat.enabled": True})
    assert (
        spike_value(msat) == "any" and exponentials(msat) == 4
    )  # exp and ln of Eq. 15, exp of Eq. 16, the sigmoid's exp
    assert exponentials(msat.with_settings({"msat.dtt": False, "msat.mu": True})) == 3
    assert exponentials(msat.with_settings({"msat.variant": "algorithm1"})) == 0
    staged = msat.with_settings({"msat.stages": 2})
    assert spike_value(staged) == "power of two" and exponentials(staged) == 4
    assert exponentials(staged.with_settings({"msat.det": False})) == 0  # DTT in stages is a comparison per stage
