"""The hub on a real store, with listeners that read when told to; and its tree against a plain list of tabs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stoker.model.audience import EVERYBODY, Address, NewMessage, Roles, Tab
from stoker.model.clock import FakeClock
from stoker.model.errors import StokerError
from stoker.model.ids import new_job_id
from stoker.router.push.hub import Hub
from stoker.router.push.pulse import GATHER, ONE_BY_ONE, Pulses
from stoker.router.push.tree import Tree
from stoker.store.messages import Head
from stoker.store.sqlite import SqliteStore
from stoker.wire.topics import WORKERS

TAB = Tab("u7", "s1", "a")


class Ear:
    """A connection that keeps what it is told, and reads or does not."""

    def __init__(self, room: int | None = None) -> None:
        self.behind: int | None = None
        self.lines: list[dict[str, Any]] = []
        self.room = room

    @property
    def writable(self) -> bool:
        return self.room != 0

    def say(self, line: bytes) -> None:
        assert self.room != 0, "told though it does not read"
        if self.room is not None:
            self.room -= 1
        self.lines.append(json.loads(line))

    @property
    def heard(self) -> list[Any]:
        return [line["data"] for line in self.lines]


def message(data: int, *to: str, role: str = Roles.web) -> NewMessage:
    return NewMessage(new_job_id(), role, Address(*(to or (TAB.user,))), "e", b"%d" % data)


async def attached(hub: Hub, ear: Ear, tab: Tab = TAB) -> Head:
    place: asyncio.Future[Head | StokerError] = asyncio.get_running_loop().create_future()
    hub.attach(ear, tab, place.set_result)
    head = await place
    assert isinstance(head, Head)
    return head


async def comes(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Hub, SqliteStore, FakeClock]]:
    clock = FakeClock()
    store = SqliteStore(folder / "stoker.db", clock)
    await store.open()
    hub = Hub(store)
    try:
        yield hub, store, clock
    finally:
        hub.stop()
        await store.close()


def run(folder: Path, test: Callable[[Hub, SqliteStore, FakeClock], Awaitable[None]]) -> None:
    async def within() -> None:
        async with opened(folder) as made:
            await test(*made)

    asyncio.run(within())


def test_who_comes_while_others_push_misses_nothing_after_its_place(tmp_path: Path) -> None:
    async def test(hub: Hub, _store: SqliteStore, _clock: FakeClock) -> None:
        ears: list[tuple[Ear, Head]] = []

        async def come() -> None:
            for _ in range(40):
                ear = Ear()
                ears.append((ear, await attached(hub, ear)))
                await asyncio.sleep(0)

        offsets, _ = await asyncio.gather(asyncio.gather(*(hub.push(message(n)) for n in range(300))), come())
        assert sorted(offsets) == list(range(1, 301))
        assert len(ears) == 40
        for ear, head in ears:
            told = [line["offset"] for line in ear.lines]
            assert told == list(range(301 - len(told), 301))
            assert 300 - len(told) <= head.offset

    run(tmp_path, test)


def test_who_stops_reading_again_and_again_is_told_each_once(tmp_path: Path) -> None:
    async def test(hub: Hub, _store: SqliteStore, _clock: FakeClock) -> None:
        slow, quick = Ear(room=3), Ear()
        await attached(hub, slow)
        await attached(hub, quick)
        for number in range(200):
            await hub.push(message(number, *(("u8",) if number % 5 == 4 else ())))
            if number % 7 == 0:
                slow.room = 5
                hub.resumed(slow)
        slow.room = None
        hub.resumed(slow)
        wanted = [number for number in range(200) if number % 5 != 4]
        assert quick.heard == wanted
        await comes(lambda: slow.heard == wanted)
        await hub.push(message(200))
        assert slow.heard[-1] == 200
        assert slow.behind is None

    run(tmp_path, test)


def test_what_is_not_said_yet_is_not_said_twice_to_who_catches_up(tmp_path: Path) -> None:
    """In the store are newer ones than this node has been told of: those come to everybody, once."""

    async def test(hub: Hub, store: SqliteStore, _clock: FakeClock) -> None:
        slow, quick = Ear(room=0), Ear()
        await attached(hub, slow)
        await attached(hub, quick)
        await hub.push(message(0))
        await store.messages.push([message(n) for n in (1, 2)])
        slow.room = None
        hub.resumed(slow)
        await comes(lambda: slow.behind is None)
        assert slow.heard == quick.heard, "told as much as everybody, and no more"
        hub.wake()
        await comes(lambda: quick.heard == [0, 1, 2])
        assert slow.heard == [0, 1, 2]

    run(tmp_path, test)


def test_who_did_not_read_for_too_long_is_told_that_something_is_gone(tmp_path: Path) -> None:
    async def test(hub: Hub, store: SqliteStore, clock: FakeClock) -> None:
        slow, quick = Ear(room=1), Ear()
        await attached(hub, slow)
        await attached(hub, quick)
        for number in range(5):
            await hub.push(message(number))
        clock.advance(100)
        await hub.push(message(5))
        assert await store.messages.purge(60) == 5
        slow.room = None
        hub.resumed(slow)
        await comes(lambda: slow.heard[-1] == 5)
        assert [(line["event"], line.get("to") is None) for line in slow.lines[1:]] == [("reset", True), ("e", False)]
        assert quick.heard == [0, 1, 2, 3, 4, 5]

    run(tmp_path, test)


def test_who_was_behind_and_had_no_tab_for_a_while_is_told_again(tmp_path: Path) -> None:
    async def test(hub: Hub, _store: SqliteStore, _clock: FakeClock) -> None:
        ear = Ear(room=0)
        await attached(hub, ear)
        await hub.push(message(1))
        assert ear.behind == 0
        hub.detach(ear, TAB, lambda _: None)
        ear.room = None
        hub.resumed(ear)
        await hub.push(message(2))
        await attached(hub, ear)
        await hub.push(message(3))
        await comes(lambda: ear.heard[-1:] == [3])
        assert ear.behind is None
        await hub.push(message(4))
        assert ear.heard[-1] == 4

    run(tmp_path, test)


def test_what_is_asked_in_one_breath_is_done_in_turn(tmp_path: Path) -> None:
    """Also while the end of all messages is not known yet; and who is gone before it is known is not entered."""

    async def test(hub: Hub, _store: SqliteStore, _clock: FakeClock) -> None:
        said: list[Any] = []
        ear, gone = Ear(), Ear()
        hub.attach(gone, TAB, said.append)
        hub.attach(ear, TAB, said.append)
        hub.detach(ear, TAB, said.append)
        hub.detach(ear, TAB, said.append)
        hub.attach(ear, TAB, said.append)
        hub.leave(gone)
        assert said == []
        await comes(lambda: len(said) == 4)
        assert [isinstance(one, Head) or one for one in said] == [True, True, False, True]
        assert hub.tree.count(Address()) == 1
        await hub.push(message(1))
        assert (ear.heard, gone.heard) == ([1], [])
        hub.detach(ear, TAB, said.append)
        assert said[-1] is True
        assert hub.tree.size == 0

    run(tmp_path, test)


def test_a_store_that_was_set_back_is_told_and_it_goes_on(tmp_path: Path) -> None:
    async def test(hub: Hub, store: SqliteStore, _clock: FakeClock) -> None:
        ear = Ear()
        place = await attached(hub, ear)
        for number in range(3):
            await hub.push(message(number))
        with contextlib.closing(sqlite3.connect(store.path)) as file, file:
            file.execute("DELETE FROM messages")
            file.execute("UPDATE audience SET epoch = 'another', newest = 1")
        hub.wake()
        await comes(lambda: len(ear.lines) == 4)
        assert ear.lines[-1]["event"] == "reset"
        assert ear.lines[-1]["data"] == {"epoch": "another", "offset": 1}
        assert "to" not in ear.lines[-1]
        assert await hub.push(message(3)) == 2
        assert ear.heard[-1] == 3
        assert (await attached(hub, ear)).epoch == "another" != place.epoch

    run(tmp_path, test)


def test_what_another_wrote_is_said_in_order_when_it_is_told_of(tmp_path: Path) -> None:
    async def test(hub: Hub, store: SqliteStore, _clock: FakeClock) -> None:
        ear = Ear()
        await attached(hub, ear)
        await store.messages.push([message(n) for n in range(1200)])
        hub.wake()
        await hub.push(message(1200))
        await comes(lambda: len(ear.lines) == 1201)
        assert ear.heard == list(range(1201))
        # a wake that was lost is made good by the next push
        await store.messages.push([message(1201)])
        await hub.push(message(1202))
        await comes(lambda: len(ear.lines) == 1203)
        assert ear.heard[-2:] == [1201, 1202]

    run(tmp_path, test)


def test_nobody_there_is_looked_for_nobody(tmp_path: Path) -> None:
    """A node without tabs reads nothing, and whoever comes then is told what comes then."""

    async def test(hub: Hub, store: SqliteStore, _clock: FakeClock) -> None:
        ear = Ear()
        assert (await attached(hub, ear)).offset == 0
        hub.leave(ear)
        reads = 0
        after = store.messages.after

        def counted(*args: Any, **more: Any) -> Any:
            nonlocal reads
            reads += 1
            return after(*args, **more)

        store.messages.after = counted  # type: ignore[method-assign]
        for number in range(10):
            await hub.push(message(number))
            hub.wake()
        assert reads == 0
        assert (await attached(hub, ear)).offset == 10
        await hub.push(message(10))
        assert ear.heard == [10]

    run(tmp_path, test)


def test_scripts_hear_what_is_for_scripts(tmp_path: Path) -> None:
    async def test(hub: Hub, _store: SqliteStore, _clock: FakeClock) -> None:
        script, tab = Ear(), Ear()
        place: asyncio.Future[Head | StokerError] = asyncio.get_running_loop().create_future()
        hub.listen(script, place.set_result)
        await place
        await attached(hub, tab)
        await hub.push(message(1, role=Roles.script))
        await hub.push(message(2, EVERYBODY))
        hub.flash(message(3, role=Roles.script))
        assert (script.heard, tab.heard) == ([1, 3], [2])

    run(tmp_path, test)


def test_a_script_that_was_behind_and_hushed_hears_again(tmp_path: Path) -> None:
    """What it had not read when it left concerns it no more, and does not keep it from hearing when it comes again."""

    async def test(hub: Hub, _store: SqliteStore, _clock: FakeClock) -> None:
        script = Ear(room=0)
        said: list[Any] = []
        hub.listen(script, said.append)
        await comes(lambda: said)
        await hub.push(message(1, role=Roles.script))
        assert script.behind == 0
        hub.hush(script, said.append)
        script.room = None
        hub.resumed(script)
        hub.listen(script, said.append)
        await comes(lambda: len(said) == 3)
        await hub.push(message(2, role=Roles.script))
        await comes(lambda: script.heard)
        assert script.heard == [2]

    run(tmp_path, test)


def test_who_comes_while_a_loss_is_read_that_concerned_others_is_entered(tmp_path: Path) -> None:
    async def test(hub: Hub, store: SqliteStore, _clock: FakeClock) -> None:
        first, second = Ear(), Ear()
        await attached(hub, first)
        await hub.push(message(0))
        asked, answer = asyncio.Event(), asyncio.Event()
        after = store.messages.after

        async def slowly(*args: Any, **more: Any) -> Any:
            page = await after(*args, **more)
            if page.reset:
                asked.set()
                await answer.wait()
            return page

        store.messages.after = slowly  # type: ignore[method-assign]
        with contextlib.closing(sqlite3.connect(store.path)) as file, file:
            file.execute("UPDATE audience SET epoch = 'another', newest = 5")
        hub.wake()
        await asked.wait()
        hub.leave(first)
        coming = asyncio.ensure_future(attached(hub, second))
        await asyncio.sleep(0)
        answer.set()
        async with asyncio.timeout(20):
            assert await coming == Head("another", 5)
        await hub.push(message(1))
        assert (first.heard, second.heard) == ([0], [1])

    run(tmp_path, test)


# ── the tree ─────────────────────────────────────────────────────────────────────────────────────────────────────────

few = st.sampled_from("abc")
tabs = st.builds(Tab, few, few, few)
steps = st.lists(
    st.tuples(st.sampled_from(["attach", "attach", "detach", "leave"]), st.integers(0, 2), tabs), max_size=40
)
addresses = [
    Address(), *(Address(u) for u in "abc"), *(Address(u, s) for u in "abc" for s in "abc"),
    *(Address(u, s, i) for u in "abc" for s in "abc" for i in "abc"),
]  # fmt: skip


@given(steps)
def test_the_tree_is_a_list_of_tabs(done: Iterable[tuple[str, int, Tab]]) -> None:
    tree: Tree[int] = Tree()
    plain: list[tuple[int, Tab]] = []
    for what, connection, tab in done:
        match what:
            case "attach":
                tree.attach(connection, tab)
                plain.append((connection, tab))
            case "detach":
                assert tree.detach(connection, tab) == ((connection, tab) in plain)
                if (connection, tab) in plain:
                    plain.remove((connection, tab))
            case "leave":
                tree.leave(connection)
                plain = [one for one in plain if one[0] != connection]
    there = set(plain)
    for to in addresses:
        assert set(tree.find(to)) == {connection for connection, tab in there if to.holds(tab)}
        assert tree.count(to) == sum(1 for _, tab in there if to.holds(tab))
        for connection in range(3):
            assert tree.holds(connection, to) == any(to.holds(tab) for one, tab in there if one == connection)
    assert tree.size == len(there)
    shown = tree.shown()
    assert {Tab(u, s, i) for u in shown for s in shown[u] for i in shown[u][s]} == {tab for _, tab in there}
    for connection in range(3):
        tree.leave(connection)
    assert not any(vars(tree).values()), "nothing is left behind"


def test_transitions_of_workers_come_in_order_and_a_storm_is_one_word() -> None:
    """While nobody is subscribed nothing is kept of them."""

    async def scene() -> None:
        pulses, ear = Pulses(), Ear()
        pulses.worker(1, "images", "process", "starting", None)
        pulses.subscribe(WORKERS, None, ear)
        for state in ("starting", "ready", "died"):
            pulses.worker(2, "images", "process", state, None)
        await heard(ear, 3)
        assert [(one["pid"], one["state"]) for one in ear.heard] == [(2, "starting"), (2, "ready"), (2, "died")]
        for pid in range(ONE_BY_ONE + 1):
            pulses.worker(pid, "images", "process", "died", "killed by SIGKILL")
        await heard(ear, 4)
        assert (ear.lines[3]["topic"], ear.lines[3]["event"], ear.lines[3]["data"]) == (WORKERS, "look", None)
        pulses.worker(5, "images", "process", "starting", None)
        await heard(ear, 5)
        assert ear.lines[4]["data"]["pid"] == 5
        pulses.stop()

    async def heard(ear: Ear, count: int) -> None:
        async with asyncio.timeout(10):
            while len(ear.lines) < count:
                await asyncio.sleep(GATHER / 10)

    asyncio.run(scene())
