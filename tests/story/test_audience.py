"""Pushing to people: the right tabs, each once, in order, and nobody else; and what a bridge may do for them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stoker import AsyncClient, Roles
from stoker.model.errors import NotAllowed, PayloadTooLarge, RequestError
from tests.daemon import Daemon, until
from tests.story.conftest import Make
from tests.tabs import Bridge
from tests.terminal import answer, typed

_fences = itertools.count(1)
TABS = [
    ("u7", "s1", "a"), ("u7", "s1", "b"), ("u7", "s2", "c"), ("u8", "s3", "d"), ("u9", "s1", "e"),
]  # fmt: skip
AWKWARD = [
    {"a": [1, None, {"b": "ü \n\r\u2028 \\n \U0001f525", "": []}], "big": 2**53 + 1, "float": 0.1},
    "data: x\n\nevent: y\n", 0, False, None, [], {}, "", "<img src=x onerror=alert(1)>",
]  # fmt: skip


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("pushing", consumers_max=4) as daemon:
        yield daemon


@pytest.fixture
def bridge(daemon: Daemon) -> Iterator[Bridge]:
    with Bridge(daemon) as bridge:
        yield bridge


@pytest.fixture
def each(daemon: Daemon) -> Iterator[dict[str, Bridge]]:
    """One connection for each tab, by its instance: so what a connection gets is what the tab gets."""
    with contextlib.ExitStack() as stack:
        bridges = {tab[2]: stack.enter_context(Bridge(daemon)) for tab in TABS}
        for tab in TABS:
            bridges[tab[2]].attach(*tab)
        yield bridges


def heard(daemon: Daemon, bridges: dict[str, Bridge]) -> dict[str, list[Any]]:
    """What each has been told until now, those who were told nothing left out."""
    fence = f"fence {next(_fences)}"
    assert daemon.client.send_to_all("web", 0, fence).tabs == len(bridges)
    found = {name: [one["data"] for one in bridge.until(fence)] for name, bridge in bridges.items()}
    return {name: data for name, data in found.items() if data}


# ── to whom ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("address", "tabs"),
    [
        ({"user": "u7"}, "abc"),
        ({"user": "u7", "session": "s1"}, "ab"),
        ({"user": "u7", "session": "s1", "instance": "b"}, "b"),
        ({"user": "u9", "session": "s1"}, "e"),
        ({"user": "u8"}, "d"),
        ({"user": "0"}, "abcde"),
        ({"user": "u6"}, ""),
        ({"user": "u7", "session": "s3"}, ""),
        ({"user": "u7", "session": "s2", "instance": "a"}, ""),
    ],
)
def test_an_event_reaches_exactly_the_tabs_of_its_address(
    daemon: Daemon, each: dict[str, Bridge], address: dict[str, str], tabs: str
) -> None:
    """V55, V74, V75, V77, V78: a user, a session, an instance, everybody: each once, and nobody else."""
    done = daemon.client.send_to_all(Roles.web, address.pop("user"), "e", {"n": tabs}, **address)  # type: ignore[arg-type]
    assert done.tabs == len(tabs)
    assert heard(daemon, each) == {name: [{"n": tabs}] for name in tabs}


def test_a_connection_is_told_once_however_many_of_its_tabs_match(daemon: Daemon, bridge: Bridge) -> None:
    for tab in TABS:
        bridge.attach(*tab)
    assert daemon.client.send_to_all("web", "u7", "once").tabs == 3
    assert daemon.client.send_to_all("web", "0", "twice").tabs == 5
    daemon.client.send_to_all("web", "0", "end")
    assert [(one["event"], one["to"]["user"]) for one in bridge.until("end")] == [("once", "u7"), ("twice", "0")]


def test_any_json_arrives_unchanged(daemon: Daemon, each: dict[str, Bridge]) -> None:
    """V76: nested, unicode, newlines, numbers beyond those of a browser."""
    for data in AWKWARD:
        daemon.client.send_to_all("web", "u8", "naïve\n", data)
    assert heard(daemon, each) == {"d": AWKWARD}


def test_handlers_push(daemon: Daemon, each: dict[str, Bridge]) -> None:
    """V33, X4: from a process of its own, from a coroutine, from a thread; the delivery is the router's."""
    daemon.client.call("pushing.tell", {"user": "u8", "data": {"progress": 50}})
    daemon.client.call("pushing.tell", {"user": "u7", "data": 1, "session": "s1", "instance": "a"})
    daemon.client.call("pushing.tell_awaiting", {"user": "u8"})
    daemon.client.call("pushing.tell_threaded", {"user": "u8"})
    daemon.client.submit("pushing.notify", user="u9").result(20)
    notice = {"title": "T", "message": "awaited", "level": "warning", "data": {"n": 1}}
    plain = {"title": None, "message": "it is done", "level": "info", "data": None}
    assert heard(daemon, each) == {
        "a": [1], "d": [{"progress": 50}, "awaited", notice, "threaded"], "e": [plain],
    }  # fmt: skip
    record = daemon.client.submit("pushing.misaddressed").wait(20)
    assert "an instance belongs to a session" in (record.error or "")


def test_a_notification_is_for_one_user(daemon: Daemon, each: dict[str, Bridge]) -> None:
    """V56: only that user's tabs get it, as the event ``notification``."""
    assert daemon.client.notify_now("u7", "Hello", level="success").tabs == 3
    daemon.client.send_to_all("web", "0", "end")
    got = {name: [(one["event"], one["data"]["level"]) for one in each[name].until("end")] for name in each}
    assert got == {name: [("notification", "success")] if name in "abc" else [] for name in each}


def test_scripts_and_browsers_are_told_apart(daemon: Daemon, bridge: Bridge) -> None:
    """V48: what is pushed to ``Roles.web`` reaches no script, and the other way round."""
    bridge.attach(*TABS[0])
    with daemon.raw() as script, daemon.raw() as deaf:
        subscribed = script.call(1, "subscribe", topic="audience")["data"]
        assert daemon.client.send_to_all(Roles.web, "0", "for browsers").tabs == 1
        assert daemon.client.send_to_all(Roles.script, "0", "for scripts", [1]).tabs == 1
        assert daemon.client.send_to_all(Roles.script, "u7", "both end", pulse=True).offset is None
        assert daemon.client.send_to_all(Roles.web, "u7", "both end", pulse=True).offset is None
        first, second = script.receive(), script.receive()
        assert (first["event"], first["offset"]) == ("for scripts", subscribed["offset"] + 2)
        assert (second["event"], second.get("offset")) == ("both end", None)
        assert [one["event"] for one in bridge.until("both end")] == ["for browsers"]
        assert script.call(2, "unsubscribe", topic="audience")["data"] is True
        assert script.call(3, "unsubscribe", topic="audience")["data"] is False
        assert daemon.client.send_to_all(Roles.script, "0", "nobody").tabs == 0
        assert deaf.call(1, "ping")["data"] == "pong"


def test_who_is_connected(daemon: Daemon, each: dict[str, Bridge]) -> None:
    """V77: the tree of users, sessions and instances; a connection that ends takes its tabs with it."""
    tree = {"u7": {"s1": ["a", "b"], "s2": ["c"]}, "u8": {"s3": ["d"]}, "u9": {"s1": ["e"]}}
    found = daemon.client.ask("clients")
    assert (found["web"], found["tabs"], found["tree"]) == (5, 5, tree)
    assert answer(daemon, "clients", "--json")["tree"] == tree
    shown = typed(daemon, "clients").stdout
    assert "u7" in shown
    assert "s2" in shown
    each["c"].__exit__()
    each["e"].__exit__()
    until(lambda: daemon.client.ask("clients")["tree"] == {"u7": {"s1": ["a", "b"]}, "u8": {"s3": ["d"]}})
    until(lambda: daemon.client.ask("clients")["web"] == 3)


def test_a_tab_that_was_attached_twice_is_detached_twice(daemon: Daemon, bridge: Bridge) -> None:
    """A tab that comes back is there before its old stream is gone."""
    bridge.attach(*TABS[0])
    bridge.attach(*TABS[0])
    assert daemon.client.ask("clients")["tabs"] == 1
    assert bridge.detach(*TABS[0])
    assert daemon.client.send_to_all("web", "u7", "e").tabs == 1
    assert bridge.detach(*TABS[0])
    assert not bridge.detach(*TABS[0])
    assert not bridge.detach("u1", "s", "i")
    assert daemon.client.send_to_all("web", "u7", "e").tabs == 0
    assert daemon.client.ask("clients")["tree"] == {}


def test_what_cannot_be_pushed(daemon: Daemon, bridge: Bridge) -> None:
    push = daemon.client.send_to_all
    for wrong in ("", "x" * 257, "a\x00b"):
        with pytest.raises(RequestError, match="1 to 256 characters"):
            push("web", wrong, "e")
        with pytest.raises(RequestError, match="1 to 256 characters"):
            push("web", "u7", wrong)
        assert bridge.code("attach", user="u7", session="s", instance=wrong) == "refused"
    for role in ("router", "everybody", ""):
        with pytest.raises(RequestError, match="web or script"):
            push(role, "u7", "e")
    with pytest.raises(RequestError, match="name both"):
        push("web", "0", "e", session="s1")
    with pytest.raises(RequestError, match="name both"):
        push("web", "u7", "e", instance="a", pulse=True)
    with pytest.raises(PayloadTooLarge, match="more than"):
        push("web", "u7", "e", "x" * (64 << 10))
    with pytest.raises(RequestError, match="level"):
        daemon.client.notify_now("u7", "text", level="loud")
    assert bridge.code("attach", user="0", session="s", instance="i") == "refused"
    assert bridge.code("attach", user="u7", session="s") == "protocol"
    assert bridge.code("attach", user="u7", session="s", instance="i", more=1) == "protocol"
    assert bridge.code("subscribe", topic="weather") == "refused"
    assert bridge.code("subscribe", topic="jobs", job="x") == "refused"
    assert bridge.code("subscribe") == "refused"


def test_the_same_id_again_is_pushed_once(daemon: Daemon, each: dict[str, Bridge]) -> None:
    """A client that lost the answer asks again, and nobody hears it twice."""
    first = daemon.client.ask("send_to_all", user="u8", event="e", data=1, id="mine")
    assert daemon.client.ask("send_to_all", user="u8", event="e", data=1, id="mine") == first
    assert heard(daemon, each) == {"d": [1]}


# ── order, replay, and those who read slowly ─────────────────────────────────────────────────────────────────────────


def test_the_order_is_that_of_the_offsets(daemon: Daemon, each: dict[str, Bridge]) -> None:
    """Many push at one time; every tab is told in one order, without a hole, and can read it again."""

    async def storm() -> None:
        async with daemon.async_client() as one, daemon.async_client() as two:
            pushes = [(one, two)[n % 2].send_to_all("web", ("u7", "u8", "0")[n % 3], "e", n) for n in range(150)]
            await asyncio.gather(*pushes)

    before = each["a"].attach(*TABS[0])
    asyncio.run(storm())
    daemon.client.send_to_all("web", "0", "end")
    told = {name: [(one["offset"], one["data"]) for one in each[name].until("end")] for name in "ade"}
    everything = dict(told["a"] + told["d"] + told["e"])
    assert sorted(everything.values()) == list(range(150))
    assert sorted(everything) == list(range(before["offset"] + 1, before["offset"] + 151))
    for name, wanted in (("a", (0, 2)), ("d", (1, 2)), ("e", (2,))):
        assert told[name] == sorted(told[name])
        assert sorted(n for _, n in told[name]) == [n for n in range(150) if n % 3 in wanted]
        tab = next(tab for tab in TABS if tab[2] == name)
        assert replayed(each[name], before, tab)[:-1] == told[name]


def replayed(bridge: Bridge, place: dict[str, Any], tab: tuple[str, ...]) -> list[tuple[int, Any]]:
    """What was pushed to a tab after a place, page by page."""
    user, session, instance = tab
    found: list[tuple[int, Any]] = []
    after = place["offset"]
    while True:
        who = {"user": user, "session": session, "instance": instance}
        page = bridge.ask("messages", who, after=after, limit=40, epoch=place["epoch"])["data"]
        assert not page["reset"]
        found += [(one["offset"], one["data"]) for one in page["messages"]]
        after = page["offset"]
        if len(page["messages"]) < 40:
            return found


def test_what_was_pushed_is_read_again_by_those_it_was_for(daemon: Daemon, bridge: Bridge) -> None:
    place = bridge.attach("u1", "s", "i")
    daemon.client.send_to_all("web", "u1", "mine", 1)
    daemon.client.send_to_all("web", "u2", "another's", 2)
    daemon.client.send_to_all("web", "u1", "another session's", 3, session="t")
    daemon.client.send_to_all("script", "u1", "a script's", 4)
    daemon.client.send_to_all("web", "u1", "a pulse", 5, pulse=True)
    daemon.client.send_to_all("web", "0", "everybody's", 6)
    assert [data for _, data in replayed(bridge, place, ("u1", "s", "i"))] == [1, 6]
    everything = bridge.ask("messages", after=place["offset"])["data"]
    assert [one["data"] for one in everything["messages"]] == [1, 2, 3, 6]
    assert everything["messages"][0]["to"] == {"user": "u1", "session": None, "instance": None}
    script = daemon.client.ask("messages", after=place["offset"])
    assert [one["data"] for one in script["messages"]] == [4]
    assert bridge.ask("messages", after=10**9)["data"]["reset"] is True
    assert bridge.ask("messages", after=place["offset"], epoch="another")["data"]["reset"] is True


def test_who_does_not_read_misses_nothing_and_slows_nobody(daemon: Daemon) -> None:
    """P13: a connection that stands still is bounded in memory; when it reads again it is told all, in order."""
    data = "x" * 60_000
    with Bridge(daemon, 60) as slow, Bridge(daemon) as quick:
        slow.attach("u7", "s1", "slow")
        quick.attach("u7", "s1", "quick")
        before = memory(daemon)
        begun = time.monotonic()
        for number in range(500):
            daemon.client.send_to_all("web", "u7", f"e{number}", data)
            assert quick.next()["event"] == f"e{number}"
        daemon.client.send_to_all("web", "u7", "a pulse", pulse=True)
        assert quick.next()["event"] == "a pulse"
        took = time.monotonic() - begun
        assert memory(daemon) - before < 20 << 20, "30 MB were said to one who did not read"
        print(f"500 events of 60 KB beside one who does not read: {took:.1f} s")
        assert [slow.next()["event"] for _ in range(500)] == [f"e{number}" for number in range(500)]
        daemon.client.send_to_all("web", "u7", "end")
        assert slow.until("end") == []


def memory(daemon: Daemon) -> int:
    """Bytes of the router that are its own."""
    with open(f"/proc/{daemon.router}/smaps_rollup") as file:
        fields = dict(line.split(":", 1) for line in file.read().splitlines()[1:])
    return sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty")) * 1024


def test_twenty_thousand_tabs_behind_one_connection(daemon: Daemon) -> None:
    """A bridge that comes back names them all at once; whom an event is for costs the same as with one. Who does not
    read its answers is not heard meanwhile, so it reads while it writes, as a bridge does."""
    with Bridge(daemon, 120) as bridge, Bridge(daemon) as lonely:
        lonely.attach("lonely", "s", "i")
        lines = [
            {"type": "call", "id": n, "method": "attach",
             "params": {"user": f"u{n // 4}", "session": f"s{n // 2}", "instance": f"i{n}"}}
            for n in range(20_000)
        ]  # fmt: skip
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        writer = threading.Thread(target=bridge.send_bytes, args=(data,))
        writer.start()
        assert all(bridge.receive()["type"] == "return" for _ in lines)
        writer.join(20)
        assert daemon.client.ask("clients")["tabs"] == 20_001

        def take(user: str, listener: Bridge) -> float:
            begun = time.monotonic()
            for _ in range(300):
                daemon.client.send_to_all("web", user, "e", pulse=True)
                assert listener.next()["event"] == "e"
            return time.monotonic() - begun

        one, many = take("lonely", lonely), min(take("u77", bridge) for _ in range(3))
        print(f"300 pulses: {one * 1000:.0f} ms to the one tab of a connection, {many * 1000:.0f} ms to 4 of 20,000")
        assert many < 3 * one + 0.5
    until(lambda: daemon.client.ask("clients")["tabs"] == 0)


def test_what_was_pushed_survives_a_restart_and_is_kept_no_longer_than_is_set(make: Make) -> None:
    daemon = make("pushing")
    with Bridge(daemon) as bridge:
        place = bridge.attach(*TABS[0])
    daemon.client.send_to_all("web", "u7", "old")
    assert daemon.stop() == 0
    daemon.start()
    with Bridge(daemon) as bridge:
        kept = bridge.ask("messages", after=place["offset"], epoch=place["epoch"])["data"]
        assert (kept["reset"], [one["event"] for one in kept["messages"]]) == (False, ["old"])
    assert daemon.stop() == 0
    with contextlib.closing(sqlite3.connect(daemon.store)) as file, file:
        file.execute("UPDATE messages SET at = at - 601")
    daemon.start()
    with Bridge(daemon) as bridge:
        until(lambda: bridge.ask("messages", after=place["offset"], epoch=place["epoch"])["data"]["reset"])
        assert bridge.attach(*TABS[0]) == {"epoch": place["epoch"], "offset": place["offset"] + 1}
        daemon.client.send_to_all("web", "u7", "new")
        assert bridge.next()["offset"] == place["offset"] + 2


# ── the clients ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_scripts_listen(daemon: Daemon) -> None:
    first = daemon.client.send_to_all(Roles.script, "0", "rates", {"eur": 1})
    daemon.client.send_to_all(Roles.script, "u7", "rates", {"eur": 2})
    assert first.offset is not None
    listening = daemon.client.listen(first.offset - 1)
    assert [next(listening).value() for _ in range(2)] == [{"eur": 1}, {"eur": 2}]
    daemon.client.send_to_all(Roles.script, "0", "rates", {"eur": 3})
    daemon.client.send_to_all(Roles.script, "0", "rates", {"eur": 4}, pulse=True)
    third, fourth = next(listening), next(listening)
    assert (third.value(), third.offset) == ({"eur": 3}, first.offset + 2)
    assert (fourth.value(), fourth.offset) == ({"eur": 4}, None)
    listening.close()  # type: ignore[attr-defined]
    until(lambda: daemon.client.send_to_all(Roles.script, "0", "x", pulse=True).tabs == 0)


def test_coroutines_listen(daemon: Daemon) -> None:
    async def listen(client: AsyncClient, after: int | None, count: int) -> list[Any]:
        found: list[Any] = []
        async for one in client.listen(after):
            found.append(one.value())
            if len(found) == count:
                return found
        raise AssertionError("it ended")

    async def run() -> None:
        async with daemon.async_client() as client:
            first = await client.send_to_all("script", "0", "rates", 1)
            assert first.offset is not None
            late = asyncio.create_task(listen(client, None, 2))
            async with asyncio.timeout(20):
                while (await client.send_to_all("script", "0", "rates", 0, pulse=True)).tabs == 0:
                    await asyncio.sleep(0.01)
            early = asyncio.create_task(listen(client, first.offset - 1, 2))
            await client.send_to_all("script", "0", "rates", 2)
            assert await asyncio.wait_for(early, 20) == [1, 2]
            assert (await asyncio.wait_for(late, 20))[0] in (0, 2)
            notice = await client.notify_now("u7", "text")
            assert notice.tabs == 0

    asyncio.run(run())


def test_a_word_from_the_shell(daemon: Daemon, each: dict[str, Bridge]) -> None:
    assert "3 tabs" in typed(daemon, "notify", "--user", "u7", "Your report is ready", "--level", "success").stdout
    done = answer(daemon, "notify", "--everybody", "--title", "T", "All", "--json")
    assert done["tabs"] == 5
    found = heard(daemon, each)
    assert [one["message"] for one in found["a"]] == ["Your report is ready", "All"]
    assert [(one["title"], one["message"]) for one in found["d"]] == [("T", "All")]
    assert "--everybody" in typed(daemon, "notify", "text", code=2).stderr
    typed(daemon, "notify", "text", "--user", "u7", "--everybody", code=2)


# ── for whom the bridge asks ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_methods_of_each_role(daemon: Daemon, bridge: Bridge) -> None:
    """V49: listed by role, and a browser that calls what is for scripts gets an error."""
    may = bridge.ask("methods")["data"]
    assert {"attach", "detach", "submit", "job", "messages"} <= set(may["web"])
    assert {"send_to_all", "notify_now", "clients", "stop"} <= set(may["script"])
    assert "send_to_all" in may["job"]
    for method in sorted(set(may["script"]) - set(may["web"])):
        assert bridge.code(method, {"user": "u7", "level": "admin"}) == "not_allowed", method
    for method in ("send_to_all", "notify_now", "clients", "pause", "stats", "reload", "stop", "audit"):
        assert bridge.code(method, "u7") == "not_allowed", method
        assert bridge.code(method, None) == "not_allowed", method
    assert bridge.code("stop", {"user": "u7", "level": "operator"}) == "not_allowed"
    assert bridge.ask("clients", {"user": "u7", "level": "viewer"})["data"]["web"] >= 1
    with daemon.raw() as script:
        assert script.call(1, "attach", user="u7", session="s", instance="i")["code"] == "not_allowed"


def test_a_job_belongs_to_whom_it_is_asked_for(daemon: Daemon, bridge: Bridge) -> None:
    """V28: the handler sees the web session's user."""
    job = bridge.ask("submit", "u7", command="pushing.for_browsers")["data"]["id"]
    assert daemon.client.job(job).wait(20).user == "u7"
    assert bridge.ask("pushing.for_browsers", "u8")["data"] == "web"
    assert bridge.ask("jobs", "u8", limit=1)["data"][0]["user"] == "u8"
    assert bridge.ask("submit", "u7", command="pushing.for_browsers", user="u7")["data"]["created"]
    assert bridge.code("submit", "u7", command="pushing.for_browsers", user="u8") == "not_allowed"
    every = {"user": "root", "level": "operator"}
    other = bridge.ask("submit", every, command="pushing.for_browsers", user="u8")["data"]["id"]
    assert daemon.client.job(other).record().user == "u8"
    assert bridge.code("submit", "u7", command="pushing.for_scripts") == "not_allowed"
    assert bridge.code("pushing.for_scripts", every) == "not_allowed"
    for wrong in ("0", "", "x" * 257):
        assert bridge.code("submit", wrong, command="pushing.for_browsers") in ("not_allowed", "refused")
    with daemon.raw() as script:
        script.send({"type": "call", "id": 1, "method": "ping", "params": {}, "who": {"user": "u7"}})
        assert script.receive()["code"] == "not_allowed"


def test_jobs_of_others_are_not_there(daemon: Daemon, bridge: Bridge) -> None:
    """Seen and touched by whose they are, and by those who may see all; for anybody else there is no such job."""
    mine = daemon.client.submit("pushing.long", {"gate": "mine"}, user="u7")
    until(lambda: any(one.kind == "chunk" for one in mine.events(follow=False)))
    nobody = "f" * 32
    for method in ("job", "events", "wait", "cancel", "retry", "subscribe"):
        params = {"job": mine.id} | ({"seconds": 0.1} if method == "wait" else {})
        told = bridge.ask(method, "u8", **params)
        assert told["code"] == "unknown_job"
        assert told["message"] == bridge.ask(method, "u8", **(params | {"job": nobody}))["message"].replace(
            nobody, mine.id
        ), "it is told apart from one that is not there"
        assert bridge.code(method, None, **params) == "not_allowed", "nobody was named"
    assert mine.record().status == "running"
    for who in ("u7", {"user": "root", "level": "operator"}):
        assert bridge.ask("job", who, job=mine.id)["data"]["status"] == "running"
        said = bridge.ask("events", who, job=mine.id)["data"]
        assert [one["data"] for one in said if one["kind"] == "chunk"] == ["one"]
        assert bridge.ask("wait", who, job=mine.id, seconds=0)["data"]["status"] == "running"
        assert bridge.code("retry", who, job=mine.id) == "wrong_state"
    assert bridge.ask("cancel", "u7", job=mine.id, reason="enough")["data"]["id"] == mine.id
    assert mine.wait(20).status == "cancelled"


def test_lists_are_of_ones_own_jobs(daemon: Daemon, bridge: Bridge) -> None:
    made = [daemon.client.submit("pushing.for_scripts", user=user, tags=["list"]) for user in ("l1", "l2", "l1")]
    for job in made:
        job.wait(20)
    own = bridge.ask("jobs", "l1")["data"]
    assert [one["id"] for one in own] == [made[2].id, made[0].id]
    assert bridge.ask("jobs", "l1", before=made[2].id)["data"][0]["id"] == made[0].id
    assert bridge.code("jobs", "l1", before=made[1].id) == "unknown_job"
    assert bridge.code("jobs", "l1", user="l2") == "not_allowed"
    assert bridge.ask("jobs", "l1", user="l1", tag="list")["data"] == own
    every_user = {"user": "root", "level": "operator"}
    every = bridge.ask("jobs", every_user, tag="list")["data"]
    assert len(every) == 3
    assert bridge.code("jobs") == "not_allowed"
    assert bridge.code("retry", "l1", job=made[0].id) == "not_allowed", "the command is for scripts"
    assert bridge.ask("retry", every_user, job=made[0].id)["data"]["status"] in ("new", "running")


def test_a_browser_follows_its_job(daemon: Daemon, bridge: Bridge) -> None:
    """V32: what a handler streams is seen while it runs."""
    job = bridge.ask("submit", "u7", command="pushing.long", input={"gate": "follow"})["data"]["id"]
    daemon.wait_here("follow")
    assert bridge.ask("subscribe", "u7", job=job)["data"] == {"topic": f"job:{job}"}
    first = bridge.next()
    assert (first["event"], first["data"]["data"]) == ("chunk", "one")
    daemon.open_gate("follow")
    assert [one["data"]["data"] for one in bridge.until("end") if one["event"] == "chunk"] == ["two"]
    bridge.ask("subscribe", "u7", job=job, after=first["offset"])
    assert [one["data"]["data"] for one in bridge.until("end") if one["event"] == "chunk"] == ["two"]


# ── pulses ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_changes_about_ones_jobs(daemon: Daemon, bridge: Bridge) -> None:
    """The topic ``jobs``: new, running and ended ones, of those who are subscribed; everybody's for who may see all."""
    with Bridge(daemon) as other, daemon.raw() as script:
        assert bridge.ask("subscribe", "j1", topic="jobs")["data"] == {"topic": "jobs"}
        other.ask("subscribe", {"user": "root", "level": "operator"}, topic="jobs")
        script.call(1, "subscribe", topic="jobs")
        theirs = daemon.client.submit("pushing.for_scripts", user="j2").wait(20).id
        mine = daemon.client.submit("pushing.long", {"gate": "pulse"}, user="j1")
        daemon.wait_here("pulse")
        running = {"job": mine.id, "status": "running", "command": "pushing.long"}
        while (message := bridge.next())["data"] != running:
            assert message["data"]["job"] == mine.id
        assert message["to"]["user"] == "j1"
        mine.cancel()
        while bridge.next()["data"] != running | {"status": "cancelled"}:
            pass
        seen: list[Any] = []
        while not seen or seen[-1] != running | {"status": "cancelled"}:
            seen.append(other.next()["data"])
        assert theirs in {one["job"] for one in seen}
        assert script.receive()["topic"] == "jobs"
        assert bridge.ask("unsubscribe", "j1", topic="jobs")["data"] is True
        assert bridge.ask("unsubscribe", "j1", topic="jobs")["data"] is False
        daemon.client.submit("pushing.for_scripts", user="j1").wait(20)
        bridge.attach("j1", "s", "i")
        while other.next()["data"]["status"] != "completed":
            pass
        daemon.client.send_to_all("web", "j1", "end")
        assert bridge.until("end") == []


def test_many_changes_are_one_word(daemon: Daemon) -> None:
    with Bridge(daemon) as bridge:
        bridge.ask("subscribe", {"user": "root", "level": "operator"}, topic="jobs")
        daemon.client.submit_many("pushing.for_scripts", [{} for _ in range(300)], delay="1h", tags=["many"])
        told = bridge.next()
        assert (told["topic"], told["event"], told["data"]) == ("jobs", "look", None)


def test_figures_are_for_those_who_may_see_everything(daemon: Daemon, bridge: Bridge) -> None:
    assert bridge.code("subscribe", "u7", topic="sys-stats") == "not_allowed"
    viewer = {"user": "root", "level": "viewer"}
    assert bridge.ask("subscribe", viewer, topic="sys-stats")["data"] == {"topic": "sys-stats"}
    assert bridge.code("subscribe", "u7", topic="audience") == "not_allowed"
    with pytest.raises(NotAllowed):
        daemon.client.ask("attach", user="u7", session="s", instance="i")
