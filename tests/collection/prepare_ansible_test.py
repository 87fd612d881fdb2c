# SPDX-License-Identifier: Apache-2.0
"""Let ansible-test build its environments from the package index alone.

ansible-test fetches a bootstrap script for pip from a separate host, which many networks do not
reach. It prefers a script in its cache. This module puts one there, which installs the same pip
from a wheel beside it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from ansible_test._internal.python_requirements import get_venv_packages

BOOTSTRAP = '''\
"""Installs pip from the wheel beside this file, as ansible-test asks get-pip.py to."""

import glob
import os
import sys

here = os.path.dirname(os.path.abspath(os.environ["GET_PIP"]))
wheel = os.path.join(here, "pip-{version}-py3-none-any.whl")
sys.path.insert(0, wheel)
from pip._internal.cli.main import main

options = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(main(["install", "--find-links", here, *options]))
'''


def main() -> None:
    """Put the wheel and the script into ansible-test's cache, unless a script is there."""
    python = SimpleNamespace(version=".".join(map(str, sys.version_info[:2])))
    version = get_venv_packages(python)["pip"]
    cache = Path.home() / ".ansible" / "test" / "cache"
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    if script.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary=:all:", "--dest", str(cache), f"pip=={version}"),
        ],
        check=True,
    )
    # Last, and in one step: an existing script counts as complete.
    unfinished = script.with_suffix(".new")
    unfinished.write_text(BOOTSTRAP.replace("{version}", version))
    unfinished.replace(script)


if __name__ == "__main__":
    main()
