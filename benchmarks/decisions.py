"""What accepting, analysing and deciding cost: CPU with the shipped packs, for a new call and for the same one again.

python benchmarks/decisions.py
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from interlock.shfmt import Shfmt, find_shfmt
from interlock_policies.engine import PolicyEngine
from interlock_policies.facts import Principal, Situation
from interlock_policies.packs import SHIPPED
from interlock_policies.shell.analyse import Analyser
from interlock_policies.situations import EXAMPLE_HOST
from interlock_tools.call import Call
from interlock_tools.catalog import build_catalog
from interlock_tools.effects import Effect, EffectKind, Effects
from interlock_tools.errors import Refusal

ROUNDS = 1_000
WHOLE_ROUNDS = 500
FILE_LIMIT_MICROSECONDS = 500
SHELL_LIMIT_MICROSECONDS = 4_000

OPERATOR = Principal("bench", roles=frozenset({"operator"}))
HOSTS = {env: replace(EXAMPLE_HOST, labels={"env": env}) for env in ("dev", "prod")}
CALL = Call("bench", "bench", "file_write", "example", {})


def file_call(number: int) -> Effects:
    """A file tool's call: one effect."""
    return Effects(inferred=(Effect(EffectKind.WRITE, f"/srv/app/config/{number}.yaml", "file_write"),))


def shell_call(number: int) -> Effects:
    """A shell call: five effects and the question about the whole."""
    places = (f"/srv/app/{number}/{place}" for place in "abcde")
    return Effects(inferred=tuple(Effect(EffectKind.WRITE, place, "cp") for place in places), programs=("cp",))


def microseconds(work: Callable[[int], object]) -> tuple[float, float]:
    """Median and 99th percentile of CPU time."""
    times = []
    for number in range(ROUNDS):
        started = time.process_time_ns()
        work(number)
        times.append((time.process_time_ns() - started) / 1_000)
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def main() -> None:
    started = time.process_time()
    engine = PolicyEngine.load([], schema_packs=SHIPPED)
    print(f"load {len(engine.rules())} rules with their examples: {(time.process_time() - started) * 1_000:.0f} ms CPU")
    print(f"{'decide':34} {'p50 µs':>8} {'p99 µs':>8}")
    for name, made, limit in (
        ("file tool, 1 effect", file_call, FILE_LIMIT_MICROSECONDS),
        ("shell, 5 effects", shell_call, SHELL_LIMIT_MICROSECONDS),
    ):
        for env, host in HOSTS.items():
            for state in ("cold", "warm"):

                def once(number: int) -> object:
                    effects = made(number if state == "cold" else 0)  # noqa: B023 - called within this round
                    return engine.decide(OPERATOR, host, CALL, effects, Situation(containment=2))  # noqa: B023 - as above

                median, worst = microseconds(once)
                bound = limit if state == "cold" else FILE_LIMIT_MICROSECONDS
                verdict = "ALLOW" if env == "dev" else "ASK"
                print(f"{name}, {verdict}, {state:18} {median:8.0f} {worst:8.0f}  limit {bound}: {median / bound:.2f}")
    print("accept + analyse + decide")
    whole_calls(engine)


def whole_calls(engine: PolicyEngine) -> None:
    """Accept + analyse + decide, as one call walks them; the CPU of the shell parser's process is counted too."""
    catalog = build_catalog(hosts=["example"], groups=[])
    analyser = Analyser(shfmt=Shfmt(find_shfmt()))
    host = HOSTS["dev"]

    def walked(tool: str, arguments: dict[str, object]) -> None:
        call = catalog.accept(tool, {"host": "example", **arguments}, call_id="c_0", principal=OPERATOR.name)
        if isinstance(call, Refusal):
            raise TypeError(call.message)
        seen = Effects(inferred=catalog.tool(tool).effects(call))
        if "command" in arguments:
            read = analyser.analyse(str(arguments["command"]), cwd="/srv/app", home="/root")
            if isinstance(read, Refusal):
                raise TypeError(read.message)
            seen = read
        engine.decide(OPERATOR, host, call, replace(seen, declared=call.declaration), Situation())

    def file_tool(number: int) -> None:
        walked("file_write", {"path": f"/srv/app/f{number}", "content": "x", "intent": "measure"})

    def shell(number: int) -> None:
        walked("shell_run", {"command": f"grep -rn needle{number} /srv/app | sort | head -5"})

    for name, work, limit in (
        ("file tool, a new path", file_tool, FILE_LIMIT_MICROSECONDS),
        ("shell, a new command", shell, SHELL_LIMIT_MICROSECONDS),
        ("shell, the same command again", lambda _: shell(0), FILE_LIMIT_MICROSECONDS),
    ):
        times = []
        for number in range(WHOLE_ROUNDS):
            began = os.times()
            work(number)
            ended = os.times()
            times.append(sum(ended[:4]) - sum(began[:4]))
        # The kernel counts a child's time in ticks of 10 ms: the mean over many calls is exact, a single one is not.
        mean = statistics.mean(times) * 1_000_000
        print(f"{name:52} mean {mean:7.0f} µs  limit {limit}: {mean / limit:.2f}")


if __name__ == "__main__":
    main()
