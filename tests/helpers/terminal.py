# SPDX-License-Identifier: Apache-2.0
"""A command in a real terminal (tmux), its screen, its keys, and pictures of it."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

_END_S = 30.0
_POLL_S = 0.05
# tmux 3.3 now and then misses the end of a command, so the shell around it notes its exit code.
_SCRIPT = 'trap : INT; "$@"; printf %s $? >"$TERMINAL_CODE"; exec sleep 60'
_SETTINGS = """
set -g status off
set -g default-terminal tmux-256color
set -g escape-time 0
"""


class Terminal:
    """A terminal of a given size in which one command runs.

    :param folder: an empty folder, with a short path, for the socket of tmux.
    :param environment: the command's whole environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        columns: int,
        lines: int,
        environment: Mapping[str, str],
    ) -> None:
        tmux = shutil.which("tmux")
        assert tmux, "These tests need tmux on PATH; CONTRIBUTING.md names what tests need."
        self.columns = columns
        settings = folder / "tmux.conf"
        settings.write_text(_SETTINGS)
        # A socket's path may have at most some hundred characters.
        self._tmux = [tmux, "-f", str(settings), "-S", str(folder / "socket")]
        self._code = folder / "code"
        size = ["-x", str(columns), "-y", str(lines)]
        script = shlex.join(["sh", "-c", _SCRIPT, "sh", *command])
        variables = {**environment, "TERMINAL_CODE": str(self._code)}
        self._run("new-session", "-d", *size, script, environment=variables)

    def _run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        run = subprocess.run(
            [*self._tmux, *arguments],
            env=None if environment is None else dict(environment),
            capture_output=True,
            text=True,
            timeout=_END_S,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    def screen(self) -> str:
        """Return what the terminal shows, without colours."""
        lines = self._run("capture-pane", "-p").splitlines()
        return "\n".join(line.rstrip() for line in lines).rstrip()

    def format(self, text: str) -> str:
        """Return tmux's expansion of a format, such as ``#{cursor_flag}``."""
        return self._run("display-message", "-p", text).strip()

    def coloured(self) -> str:
        """Return what the terminal shows, with its escape sequences."""
        return self._run("capture-pane", "-e", "-p").rstrip()

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names (``C-c``)."""
        self._run("send-keys", *names)

    def wait_for(self, pattern: str, timeout_s: float = _END_S) -> str:
        """Return the screen once it matches a regular expression."""
        deadline = time.monotonic() + timeout_s
        while True:
            screen = self.screen()
            if re.search(pattern, screen):
                return screen
            assert time.monotonic() < deadline, f"The screen never showed {pattern}:\n{screen}"
            time.sleep(_POLL_S)

    def wait_for_end(self, timeout_s: float = _END_S) -> int:
        """Return the command's exit code once it has ended."""
        deadline = time.monotonic() + timeout_s
        while not (self._code.exists() and self._code.read_text()):
            assert time.monotonic() < deadline, f"The command never ended:\n{self.screen()}"
            time.sleep(_POLL_S)
        return int(self._code.read_text())

    def close(self) -> None:
        """End the terminal, and the command if it runs."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=_END_S)

    def picture(self, title: str, changes: Mapping[str, str]) -> str:
        """Return the screen as an SVG image.

        :param title: of the window.
        :param changes: regular expressions of what differs from run to run, and what to show.
        """
        text = Text.from_ansi(self.coloured())
        console = Console(width=self.columns, record=True, file=io.StringIO())
        for line in _changed(text, changes).split(allow_blank=True):
            console.print(line, soft_wrap=False)
        svg = console.export_svg(title=title, unique_id="terminal")
        # A picture of the documentation loads nothing from another server.
        return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


def _changed(text: Text, changes: Mapping[str, str]) -> Text:
    """Replace parts of a text; each keeps the style of its first character."""
    for pattern, new in changes.items():
        for match in reversed(list(re.finditer(pattern, text.plain))):
            before, after = text[: match.start()], text[match.end() :]
            style = text[match.start() : match.start() + 1]
            middle = Text(match.expand(new))
            for span in style.spans:
                middle.stylize(span.style)
            text = Text.assemble(before, middle, after)
    return text
