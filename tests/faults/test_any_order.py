"""R12 and R15, short: a long journal, and drawn volumes, cuts, orders and interruptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigseg.storage import faultpoints
from tests.faults import any_order, chain, long_journal, sync_order
from tests.faults.io_errors import Bench


def test_any_order_gives_the_oracles_bits() -> None:
    """Any shape, chunks, block, order, threads and interruptions: equal to scikit-image and scipy, bit by bit."""
    count, cuts = any_order.draw(12)
    assert count >= 12
    assert cuts > 3


def test_a_journal_of_a_hundred_thousand_lines() -> None:
    """A tenth of a million lines is taken over in a tenth of the time, within the memory of a million."""
    found = long_journal.measured(100_000)
    assert found["processor"] < long_journal.SECONDS / 10
    assert found["peak"] < long_journal.MEMORY


def test_a_unit_is_durable_then_acknowledged_then_journalled(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every block: its last file is durable, it is computed, the driver knows, the line is written."""
    passed: list[str] = []
    monkeypatch.setattr(faultpoints, "hook", passed.append)
    chain.run(bench.volume, tmp_path / "run", 0, 20)
    units = [place for place, name in enumerate(passed) if name == "unit.acknowledged"]
    assert len(units) > 80
    for place in units:
        assert passed[place - 1] == "unit.computed"
        assert passed[place + 1 : place + 3] == ["journal.write", "journal.written"]
        began = place - passed[:place][::-1].index("unit.begin") - 1
        own = passed[began:place]
        for kind in ("file", "shard"):
            assert own.count(f"{kind}.begin") == own.count(f"{kind}.durable") == own.count(f"{kind}.renamed")


def test_a_trace_out_of_order_is_noticed() -> None:
    """The check of the order fails for a file journalled before it is synced, renamed or in a synced folder."""
    out, event = Path("/run"), sync_order.Event
    line = event("write", "/run/journal/journal.jsonl", '{"s":"a","u":0,"f":[["x/y",1,2]],"d":""}')
    sync, rename, folder = event("sync", "/run/x/.t"), event("rename", "/run/x/y", "/run/x/.t"), event("sync", "/run/x")
    end = event("sync", "/run/journal/journal.jsonl")
    assert sync_order.violations([sync, rename, folder, line, end], out) == (1, [])
    for order in ([sync, rename, line, end], [rename, sync, folder, line, end], [sync, folder, line, rename, end]):
        assert sync_order.violations(order, out)[1]
    assert sync_order.violations([sync, rename, folder, line], out)[1]
