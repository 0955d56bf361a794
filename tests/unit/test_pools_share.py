"""Shares of the slots: never more than there is room, nobody's reserve touched, nothing idle while somebody waits."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stoker.model.pool import PoolSpec
from stoker.router.pools.share import portions
from stoker.store.base import Quota


def claim(
    slots: int, pools: dict[str, PoolSpec], held: Counter[str], waiting: Counter[str]
) -> tuple[Counter[str], Counter[str]]:
    """Rounds of claims as the claimer makes them, until nothing is claimed any more."""
    held, waiting, sated = held.copy(), waiting.copy(), set[str]()
    while True:
        room = slots - held.total()
        hungry = [Quota(f"{name}.go", room) for name in pools if name not in sated]
        asked = portions(hungry, room, slots, held, pools) if room > 0 else []
        assert sum(one.total for one in asked) <= room
        if not asked:
            return held, waiting
        for one in asked:
            assert one.product is not None
            taken = min(one.total, waiting[one.product])
            held[one.product] += taken
            waiting[one.product] -= taken
            if taken < one.total:
                sated.add(one.product)


def test_a_backlog_of_both_is_shared_by_weight() -> None:
    pools = {"a": PoolSpec(product="a", weight=3), "b": PoolSpec(product="b")}
    held, _ = claim(8, pools, Counter(), Counter(a=100, b=100))
    assert held == Counter(a=6, b=2)


def test_what_one_does_not_need_goes_to_the_others() -> None:
    pools = {name: PoolSpec(product=name, weight=2 if name == "a" else 1) for name in "abc"}
    held, _ = claim(9, pools, Counter(), Counter(b=100, c=2))
    assert held == Counter(b=7, c=2)


def test_a_free_slot_goes_to_who_is_furthest_behind() -> None:
    pools = {name: PoolSpec(product=name, weight=3 if name == "a" else 1) for name in "abc"}
    held, _ = claim(4, pools, Counter(a=2, b=1), Counter(a=9, b=9))
    assert held == Counter(a=3, b=1)


names = st.sampled_from("abcd")


@given(
    st.integers(1, 12),
    st.dictionaries(names, st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1),
    st.dictionaries(names, st.integers(0, 20)),
)
def test_full_use_and_kept_reserves(slots: int, shares: dict[str, tuple[int, int]], backlog: dict[str, int]) -> None:
    pools = {name: PoolSpec(product=name, weight=weight, reserved=kept) for name, (weight, kept) in shares.items()}
    waits = Counter({name: count for name, count in backlog.items() if name in pools})
    held, left = claim(slots, pools, Counter(), waits)
    assert held.total() <= slots
    kept = sum(max(0, pool.reserved - held[name]) for name, pool in pools.items())
    for name, pool in pools.items():
        if left[name]:
            assert held.total() + kept >= slots, "somebody waits though a slot is free that nobody has reserved"
            assert held[name] >= min(pool.reserved, slots) or sum(one.reserved for one in pools.values()) > slots
