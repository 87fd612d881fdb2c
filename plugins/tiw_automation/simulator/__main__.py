# SPDX-License-Identifier: Apache-2.0
"""The command ``tiw-simulator``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import shlex
import signal
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tiw_automation import __version__

if TYPE_CHECKING:
    from tiw_automation.simulator.server import Simulator

_PACKAGES = {"aiohttp": "aiohttp", "yaml": "PyYAML"}


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


def missing_packages() -> str:
    """Return a sentence that names the packages that the simulator lacks; empty if none."""
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if not missing:
        return ""
    return (
        f"The simulator needs {' and '.join(missing)}: "
        "install it with pip install 'tiw-automation[simulator]'."
    )


def main(argv: list[str] | None = None, prog: str = "tiw-simulator") -> int:
    """Run the simulator until SIGINT or SIGTERM; return the exit status.

    Once it listens it prints one line of JSON: ``endpoint, secret_id, secret_key, sdk_app_id,
    region``; with ``--export`` the environment of its clients, as a shell reads it. After a
    mistake in the script, where the port is taken, or without the packages of the extra
    ``simulator``, it prints one line and the status is 2.

    :param prog: the command's name, for messages.
    """
    options = _parser(prog).parse_args(argv)
    missing = missing_packages()
    if missing:
        print(f"{prog}: {missing}", file=sys.stderr)
        return 2
    from tiw_automation.simulator.example import EXAMPLE
    from tiw_automation.simulator.reading import ScriptError
    from tiw_automation.simulator.server import Simulator

    try:
        simulator = Simulator(
            script=EXAMPLE if options.example else options.script,
            speed=options.speed,
            host=options.host,
            port=options.port,
            odd=options.odd,
        )
        asyncio.run(_serve(simulator, options.export))
    except ScriptError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        place = f"{options.host}:{options.port}"
        print(f"{prog}: cannot listen on {place}: {error.strerror}.", file=sys.stderr)
        return 2
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="A TIW API on this machine.")
    parser.add_argument("--version", action="version", version=f"{prog} {__version__}")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=_port, default=8787, help="0 picks a free one (%(default)s)")
    parser.add_argument(
        "--speed", type=_speed, help="virtual seconds per real second (the script's, else 1)"
    )
    starts_with = parser.add_mutually_exclusive_group()
    starts_with.add_argument(
        "--script", metavar="FILE", help="what the simulator starts with, YAML or JSON"
    )
    starts_with.add_argument(
        "--example",
        action="store_true",
        help="start with the lessons algebra, history and drama, of which drama fails; they begin "
        "when the first of them is asked for",
    )
    parser.add_argument(
        "--export",
        action="store_true",
        help="print lines like `export TIW_ENDPOINT=...` for a shell in place of JSON",
    )
    parser.add_argument(
        "--odd",
        action="store_true",
        default=None,
        help="give answers another form than the API's pages show, with the same meaning",
    )
    return parser


async def _serve(simulator: Simulator, exports: bool) -> None:
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
        print(_export_lines(simulator) if exports else json.dumps(facts), flush=True)

    with contextlib.suppress(asyncio.CancelledError):
        await simulator.serve(announce)


def _export_lines(simulator: Simulator) -> str:
    variables = simulator.environment()
    host = variables["TIW_ARCHIVE_HOSTS"]
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    # What the shell has stays.
    lines += [f'export {name}="${{{name}:+${name},}}{host}"' for name in ("NO_PROXY", "no_proxy")]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
