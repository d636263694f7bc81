"""A server that is killed in a deployment: `killed_deployment.py CONFIG APP ARTIFACT RELEASE STEP HOST MOMENT`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from interlock.app import open_app
from interlock.config import load
from interlock.ports import Request
from interlock_tools.rollout import StepName


async def main(config: Path, app_name: str, artifact: str, release: str, where: tuple[str, str, str]) -> None:
    def on_step(step: StepName, host: str, moment: str) -> None:
        if (step.value, host, moment) == where:
            os.kill(os.getpid(), signal.SIGKILL)

    async with open_app(load(config), on_deploy_step=on_step) as app:
        asked = {"app": app_name, "artifact": artifact, "release": release, "intent": "ship it", "wait_seconds": 60}
        answer = await app.front.call(Request("agent", "session", "deploy_release", asked))
    sys.exit(f"it was never come to: {answer.to_json()}")


if __name__ == "__main__":
    config, app_name, artifact, release, step, host, moment = sys.argv[1:]
    asyncio.run(main(Path(config), app_name, artifact, release, (step, host, moment)))
