"""linux.resources survives being saved in state.json, whatever it holds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libcontainer import container_update, saved_resources

positive = st.integers(1, 1 << 62)
rates = st.lists(st.fixed_dictionaries({"major": positive, "minor": positive, "rate": positive}), min_size=1, max_size=3)


def section(**members: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=members).filter(bool)


resources = st.fixed_dictionaries(
    {},
    optional={
        "memory": section(
            limit=positive,
            reservation=positive,
            swap=st.just(-1) | positive,
            swappiness=st.integers(0, 100),
            disableOOMKiller=st.just(True),
        ),
        "cpu": section(
            shares=positive,
            quota=positive,
            period=positive,
            burst=st.integers(0, 9),
            idle=st.integers(0, 1),
            cpus=st.just("0-1"),
            mems=st.just("0"),
        ),
        "pids": section(limit=st.just(-1) | positive),
        "blockIO": section(weight=positive, leafWeight=positive, throttleReadBpsDevice=rates, throttleWriteIOPSDevice=rates),
        "hugepageLimits": st.lists(st.fixed_dictionaries({"pageSize": st.just("2MB"), "limit": positive}), min_size=1),
        "network": section(classID=positive, priorities=st.just([{"name": "eth0", "priority": 1}])),
        "rdma": st.dictionaries(st.text(min_size=1), section(hcaHandles=positive, hcaObjects=positive), min_size=1),
        "unified": st.dictionaries(st.text(min_size=1), st.text(), min_size=1),
    },
)


@given(resources)
def test_there_and_back(given_resources: Any) -> None:
    assert saved_resources.from_saved(saved_resources.to_saved(given_resources)) == given_resources


@given(resources, resources)
def test_an_update_is_what_is_found_at_the_next(old: Any, new: Any) -> None:
    merged = container_update.merged(old, new)
    saved = saved_resources.replaced({"name": "c", **saved_resources.to_saved(old)}, merged)
    assert saved["name"] == "c"
    assert saved_resources.from_saved(saved) == merged


@given(resources, resources)
def test_the_same_update_twice_changes_nothing_more(old: Any, new: Any) -> None:
    once = container_update.merged(old, new)
    assert container_update.merged(once, new) == once
