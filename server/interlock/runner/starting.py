"""Starting: the supervisor's process from its fork to its exit: room, run, measure, end. It returns to nobody.

A supervisor serves one run after another, never two at once, while the helper holds it as a spare in between. Each run
has a room of its own: the next is built when that is asked for, ahead of its order, or else when the order comes.
"""

import contextlib
import json
import os
import struct
import time
from typing import Any, Dict, List, NoReturn, Optional

from interlock.runner.frames import given_frames
from interlock.runner.launching import Launched, can_wait, fits_waiting
from interlock.runner.layout import RoomFault
from interlock.runner.measured import drop_layers, look_before, measure_layers, measure_trees, require_paths
from interlock.runner.processes import own_identity
from interlock.runner.recording import begin_run
from interlock.runner.room import is_same_room, move_layers, plan_room
from interlock.runner.services import control_service
from interlock.runner.steps import run_step
from interlock.runner.supervise import Supervisor, leave_helper, write_end

ENDED_HINT = b"e"
ENDED_BYTES = struct.Struct(">I")


def supervise_run(rundir: str, order: Dict[str, Any], body: bytes, pipe: int, abilities: Dict[str, Any]) -> NoReturn:
    """Carry out one claimed run in this process, which was forked for it, and then what else is given."""
    try:
        leave_helper(pipe)
        run_step("supervisor-start")
        carry_given(rundir, order, body, None, pipe, abilities)
        serve_orders(order, pipe, abilities, os.path.dirname(rundir))
    finally:
        os._exit(0)


def serve_orders(order: Dict[str, Any], pipe: int, abilities: Dict[str, Any], place: str) -> None:
    """Carry out further orders of the same kind, one after the other, until the helper drops this process."""
    ready: Optional[Launched] = None
    given = given_frames(pipe)
    while True:
        if ready is None and order["level"] == "none" and can_wait(order):
            ready = Launched(order, {}, waits=True)
        head, body = next(given, ({}, b""))
        if not head:
            break
        if head.get("ahead"):
            ready = ready or made_ahead(order, abilities, place)
            continue
        run_step("spare-ordered")
        order = head["order"]
        carry_given(head["rundir"], order, body, ready, pipe, abilities)
        ready = None
    if ready is not None and ready.has_room:
        leave_room(ready)


def made_ahead(order: Dict[str, Any], abilities: Dict[str, Any], place: str) -> Optional[Launched]:
    """A room with its shell for the next order, which is expected to be like the last one; None where none can be."""
    run_step("spare-start")
    try:
        return prepare(os.path.join(place, ".spare-%d" % os.getpid()), order, abilities, waits=True)
    except (RoomFault, OSError):
        return None  # then the order makes its own, and says why it cannot


def carry_given(
    rundir: str, order: Dict[str, Any], body: bytes, ready: Optional[Launched], pipe: int, abilities: Dict[str, Any]
) -> None:
    """Carry out one claimed run to its end, in what waits for it where that fits."""
    try:
        if ready is None:
            launched = prepare(rundir, order, abilities, waits=order["level"] == "none" and fits_waiting(order))
        else:
            launched = fitting_room(rundir, order, abilities, ready)
    except Exception as fault:  # noqa: BLE001 - whatever it is, the run has no room
        refuse(rundir, order, fault, pipe)
    else:
        see_through(rundir, order, body, launched, pipe, abilities)


def fitting_room(rundir: str, order: Dict[str, Any], abilities: Dict[str, Any], launched: Launched) -> Launched:
    """What waits, where it is as if it had been made for this order just now; else what is made now.

    Between a room's building and its order sockets, secrets and mounts come and go. Raises RoomFault.
    """
    if not launched.has_room:
        return Launched(order, {}, waits=False) if has_ended(launched) else launched
    try:
        plan = plan_room(order, abilities, rundir)
    except RoomFault:
        leave_room(launched)
        raise
    if is_same_room(launched.plan, plan) and not has_ended(launched):
        try:
            move_layers(launched.plan, plan)
        except OSError:
            leave_room(launched)
            return prepare(rundir, order, abilities, waits=False)
        return launched
    leave_room(launched)
    return Launched(order, plan, waits=False)


def leave_room(launched: Launched) -> None:
    """End a room that nothing began in, and all that was laid out for it."""
    launched.end()
    drop_layers("", launched.plan["store"])


def has_ended(launched: Launched) -> bool:
    """Whether what waited is gone, whoever killed it: nothing of the order can have begun there."""
    launched.is_reaped = os.waitpid(launched.pid, os.WNOHANG)[0] != 0
    return launched.is_reaped


def prepare(rundir: str, order: Dict[str, Any], abilities: Dict[str, Any], waits: bool) -> Launched:
    """The order's command, made ready in its room. Raises what the room raises, where it does so twice."""
    if order["level"] == "none":
        return Launched(order, {}, waits)
    try:
        plan = plan_room(order, abilities, rundir)
    except RoomFault as fault:
        if fault.code != "room":
            raise
        plan = plan_room(order, abilities, rundir)
    return Launched(order, plan, waits)


def carry_through(
    rundir: str, order: Dict[str, Any], body: bytes, launched: Launched, pipe: int, abilities: Dict[str, Any]
) -> Supervisor:
    """Begin and follow the run to its end, in a second room where the first could not be built.

    A mount that came or went between the plan and the building is no reason to refuse; in such a room nothing began.
    """
    supervisor = Supervisor(rundir, order, body, launched, pipe)
    end = supervisor.carry_out()
    if end["why"] != "room" or supervisor.record < 0:
        return supervisor
    launched.close()
    drop_layers(rundir, launched.plan["store"])
    try:
        again = prepare(rundir, order, abilities, waits=False)
    except RoomFault as fault:
        end.update(why=fault.code, reason=str(fault))
        return supervisor
    supervisor = Supervisor(rundir, order, body, again, pipe, supervisor.record)
    supervisor.carry_out()
    return supervisor


def see_through(
    rundir: str, order: Dict[str, Any], body: bytes, launched: Launched, pipe: int, abilities: Dict[str, Any]
) -> None:
    """Begin, follow and end the run; its end is on disk, and the helper told, when this returns."""
    try:
        require_paths(order)
        before = look_before(order)
    except RoomFault as fault:
        launched.end()
        if launched.has_room:
            drop_layers(rundir, launched.plan["store"])
        refuse(rundir, order, fault, pipe)
        return
    began_ns = time.time_ns() if hasattr(time, "time_ns") else int(time.time() * 1e9)
    supervisor = carry_through(rundir, order, body, launched, pipe, abilities)
    launched, end = supervisor.launched, supervisor.end
    unsynced: List[int] = []
    if end["began"] and order["level"] == "staged":
        end.update(measure_layers(rundir, order, launched.plan, began_ns, unsynced))
    elif end["began"] and before is not None:
        end.update(measure_trees(rundir, before, unsynced))
    queued = supervisor.desk.queued if supervisor.desk is not None else []
    if queued:
        end["services"] = [{"verb": verb, "unit": unit} for verb, unit in queued]
        if not end.get("changes") and end["exit_code"] == 0:  # nothing has to land before
            end["services"] = [control_service(verb, unit) for verb, unit in queued]
    run_step("supervisor-measured")
    if supervisor.record >= 0:
        write_end(rundir, supervisor.record, end, unsynced)
    run_step("supervisor-done")
    tell_end(pipe, end)
    launched.close()
    if launched.has_room and not end.get("changes"):
        drop_layers(rundir, launched.plan["store"])


def refuse(rundir: str, order: Dict[str, Any], fault: Exception, pipe: int) -> None:
    """Write down, and tell, that the command could not be made ready; it never began."""
    end = no_beginning(order, getattr(fault, "code", "room"), str(fault))
    record = begin_run(rundir, own_identity(os.getpid()))
    if record >= 0:
        write_end(rundir, record, end)
    tell_end(pipe, end)


def tell_end(pipe: int, end: Dict[str, Any]) -> None:
    """Tell the helper, if there is one."""
    text = json.dumps(end, separators=(",", ":")).encode("ascii")
    with contextlib.suppress(OSError):
        os.write(pipe, ENDED_HINT + ENDED_BYTES.pack(len(text)) + text)


def told_end(told: bytearray) -> Optional[Dict[str, Any]]:
    """The end in what a supervisor told so far, once all of it is there."""
    start = told.find(ENDED_HINT)
    if start < 0:
        del told[:]
        return None
    text = bytes(told[start + 1 + ENDED_BYTES.size :])
    if len(told) < start + 1 + ENDED_BYTES.size or len(text) < ENDED_BYTES.unpack_from(told, start + 1)[0]:
        return None
    end: Dict[str, Any] = json.loads(text.decode("ascii"))
    return end


def no_beginning(order: Dict[str, Any], why: str, reason: str) -> Dict[str, Any]:
    """The end of a run whose command never began."""
    numbers = [name + kind for name in ("out", "err") for kind in ("_bytes", "_kept", "_tail")]
    nothing = dict.fromkeys([*numbers, "signal", "found", "left"], 0)
    return {
        **nothing, "exit_code": None, "why": why, "reason": reason, "began": False, "seconds": 0.0,
        "level": order["level"], "network": order["network"], "observed": "none", "notes": [], "at": time.time(),
    }  # fmt: skip
