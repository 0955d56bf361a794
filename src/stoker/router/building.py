"""The parts of a router, made and introduced to each other."""

from __future__ import annotations

from stoker.model.clock import Clock
from stoker.router.dispatch.dispatcher import Dispatcher
from stoker.router.house import House, Life
from stoker.router.jobs.admission import Admission
from stoker.router.jobs.audience import Audience
from stoker.router.jobs.claimer import Claimer
from stoker.router.jobs.desk import Desk
from stoker.router.keeper import Keeper
from stoker.router.nodes.hooks import Hooks
from stoker.router.nodes.member import Member
from stoker.router.nodes.roles import Roles
from stoker.router.pools.nursery import Nursery
from stoker.router.pools.pool import Pool
from stoker.router.push.hub import Hub
from stoker.router.schedules.monitors import Monitors
from stoker.router.schedules.schedules import Schedules
from stoker.router.stats.figures import Figures
from stoker.router.stats.sampler import Sampler
from stoker.router.stats.tally import Tally
from stoker.router.switchboard import Switchboard
from stoker.settings import Current
from stoker.store.base import Store


def build(
    settings: Current, store: Store, clock: Clock, boot: str, before: str | None, board: Switchboard, life: Life
) -> House:
    """All of them, at rest. ``before`` is the boot id of the daemon that this one replaces."""
    tally, audience, hub = Tally(), Audience(store), Hub(store)
    desk = Desk(store, settings, clock, audience, tally, board.asked, board.room, board.written)
    pool = Pool(settings, clock, board.said, board.lost, board.room)
    claimer = Claimer(store, pool, settings, clock, boot, board.claimed, desk.decline)
    member = Member(store, settings, clock, boot, desk, claimer, audience)
    hooks = Hooks(lambda: pool.commands, store.now, board.store)
    roles = Roles(settings, store, clock, boot, desk, claimer, hooks, before)
    keeper = Keeper(store, settings, boot, pool, desk, claimer, audience, hub, member)
    admission = Admission(lambda: pool.commands, settings)
    dispatcher = Dispatcher(settings, clock, pool, admission, board.asked)
    nursery = Nursery(settings, pool, dispatcher.look_soon)
    schedules = Schedules(settings, store, pool, admission, roles, claimer.wake, board.cancel, nursery.new)
    monitors = Monitors(settings, store, schedules, lambda: pool.commands, board.store, hub.push)
    figures = Figures(settings, store, clock, boot, pool, desk, claimer, tally, dispatcher)
    sampler = Sampler(settings, store, clock, boot, pool, desk, tally, board.sampled)

    desk.pool, desk.gate = pool, roles.gate
    desk.on_checked = monitors.checked
    claimer.roles = roles
    member.on_news, member.on_messages, member.on_orders = hub.pulses.elsewhere, hub.wake, roles.wake
    keeper.on_look = board.look
    pool.first, dispatcher.on_ended = dispatcher.serve, board.dispatched
    pool.watch(board.worker)

    board.house = House(
        settings=settings, clock=clock, boot=boot, store=store, pool=pool, nursery=nursery, desk=desk, claimer=claimer,
        keeper=keeper, member=member, roles=roles, schedules=schedules, monitors=monitors, audience=audience, hub=hub,
        admission=admission, figures=figures, sampler=sampler, dispatcher=dispatcher, tally=tally, life=life,
    )  # fmt: skip
    return board.house
