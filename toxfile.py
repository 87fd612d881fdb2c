# SPDX-License-Identifier: Apache-2.0
"""Lets tox choose among the Pythons of a list those that the machine has, as tools/tox found them.

tox does so by itself, but with uv as the installer it takes the first of a ``base_python``,
whether it is there or not.
"""

from __future__ import annotations

import os

from tox.config.loader.api import ConfigLoadArgs
from tox.config.loader.memory import MemoryLoader
from tox.config.sets import EnvConfigSet
from tox.plugin import impl
from tox.session.state import State

_KEY = "base_python"


@impl
def tox_add_env_config(env_conf: EnvConfigSet, state: State) -> None:
    """Leave those of the list that are there; all, if none is, so that the error names them."""
    there = {f"python{version}" for version in os.environ.get("PYTHONS", "").split()}
    args = ConfigLoadArgs([], env_conf.name, env_conf.env_name)
    for loader in env_conf.loaders:
        try:
            listed = loader.load(_KEY, list[str], None, state.conf, args)
        except KeyError:
            continue
        if chosen := [name for name in listed if name in there]:
            env_conf.loaders.insert(0, MemoryLoader(**{_KEY: chosen}))
        return
