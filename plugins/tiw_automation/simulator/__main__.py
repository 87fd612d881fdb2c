# SPDX-License-Identifier: Apache-2.0
"""The command ``tiw-simulator``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import signal
import sys

from tiw_automation.simulator.reading import ScriptError
from tiw_automation.simulator.server import Simulator


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 <= speed < math.inf:
        raise ValueError(text)
    return speed


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port


def main(argv: list[str] | None = None) -> int:
    """Run the simulator until SIGINT or SIGTERM; return the exit status.

    Once it listens it prints one line of JSON: ``endpoint, secret_id, secret_key, sdk_app_id,
    region``. After a mistake in the script, or where the port is taken, it prints one line and
    the status is 2.
    """
    parser = argparse.ArgumentParser(prog="tiw-simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=_port, default=8787, help="0 picks a free one (%(default)s)")
    parser.add_argument(
        "--speed", type=_speed, help="virtual seconds per real second (the script's, else 1)"
    )
    parser.add_argument(
        "--script", metavar="FILE", help="what the simulator starts with, YAML or JSON"
    )
    parser.add_argument(
        "--odd",
        action="store_true",
        default=None,
        help="give answers another form than the API's pages show, with the same meaning",
    )
    options = parser.parse_args(argv)
    try:
        simulator = Simulator(
            script=options.script,
            speed=options.speed,
            host=options.host,
            port=options.port,
            odd=options.odd,
        )
        asyncio.run(_serve(simulator))
    except ScriptError as error:
        print(f"tiw-simulator: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        place = f"{options.host}:{options.port}"
        print(f"tiw-simulator: cannot listen on {place}: {error.strerror}.", file=sys.stderr)
        return 2
    return 0


async def _serve(simulator: Simulator) -> None:
    serving = asyncio.current_task()
    assert serving is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)

    def announce() -> None:
        facts = {
            "endpoint": simulator.endpoint,
            "secret_id": simulator.secret_id,
            "secret_key": simulator.secret_key,
            "sdk_app_id": simulator.sdk_app_id,
            "region": simulator.region,
        }
        print(json.dumps(facts), flush=True)

    with contextlib.suppress(asyncio.CancelledError):
        await simulator.serve(announce)


if __name__ == "__main__":
    sys.exit(main())
