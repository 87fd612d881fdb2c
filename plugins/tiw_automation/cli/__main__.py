# SPDX-License-Identifier: Apache-2.0
"""The entry point of ``tiw``, which also works where the extra ``cli`` is not installed."""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec

from tiw_automation import __version__

_MISSING = "tiw: the command line needs more packages: pip install 'tiw-automation[cli]'."


def main() -> int:
    """Run the command line of this process and return its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the command runs, Ctrl-C ends the process without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:] == ["--version"]:
        print(f"tiw {__version__}")
        return 0
    if find_spec("click") is None:
        print(_MISSING, file=sys.stderr)
        return 2
    from tiw_automation.cli.app import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
