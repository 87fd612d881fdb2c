# SPDX-License-Identifier: Apache-2.0
"""Log lines on standard error."""

from __future__ import annotations

import logging
import sys

from tiw_automation.cli.option_names import in_options

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _StandardError(logging.Handler):
    """Writes to the present standard error, which a live table replaces."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(in_options(self.format(record)), file=sys.stderr)
        except Exception:
            self.handleError(record)


def show_log(verbosity: int) -> None:
    """Show warnings; from 1 on also what happens, from 2 on every detail."""
    handler = _StandardError()
    text = "%(asctime)s %(name)s: %(message)s" if verbosity else "tiw: %(message)s"
    handler.setFormatter(logging.Formatter(text))
    root = logging.getLogger("tiw_automation")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(_LEVELS[min(verbosity, 2)])
