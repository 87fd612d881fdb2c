#!/usr/bin/python
# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: online_record_callback
short_description: Set where Tencent Cloud posts the events of recordings
version_added: 0.1.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - Sets or removes the address and the key of the callbacks (C(SetOnlineRecordCallback),
    C(SetOnlineRecordCallbackKey)). Tencent Cloud's Interactive Whiteboard (TIW) posts callbacks
    about the events of real-time recordings.
  - An application has one address, which all its users share. The address of another user is
    replaced or removed only with O(force=true).
extends_documentation_fragment:
  - tiw.automation._attributes
  - tiw.automation._attributes.writing_module
  - tiw.automation._attributes.action_group
  - tiw.automation._account
  - tiw.automation._account.module
options:
  state:
    description:
      - V(present) sets O(url), and O(key) according to O(update_key).
      - V(absent) removes address and key. With O(url) it removes only that address; another one
        stays, with a warning. Without O(url) it removes any address, which requires O(force=true).
    type: str
    choices:
      - present
      - absent
    default: present
  url:
    description:
      - The address, a full C(http://) or C(https://) URL that Tencent Cloud can reach. Required for
        O(state=present).
      - An address that differs only in its query counts as the same one, and is updated.
      - An C(http://) address causes a warning. Over C(http://), signatures can be read on the way,
        and callbacks can be forged with one until it expires.
    type: str
  key:
    description:
      - The key that signs callbacks, 16 to 64 characters. Without it and without
        O(generate_key=true) the current key stays.
      - Anyone who has the key can forge callbacks. A short key can be found by trial from one
        callback.
    type: str
  generate_key:
    description:
      - Whether to set a new random key of 43 characters and return it as RV(key). The module sets
        one if no key is set, or if O(force=true) replaces the address of another user, who knows
        the current key. In other cases the current key stays.
    type: bool
    default: false
  rotate_key:
    description:
      - Whether O(generate_key=true) sets a new key even if one is set. Each run sets another one.
    type: bool
    default: false
  update_key:
    description:
      - When to set O(key). V(always) sets it if it differs from the current key, V(on_create) if
        O(url) was not set before or there is no key. V(never) does not set it.
      - It does not affect O(generate_key).
    type: str
    choices:
      - always
      - on_create
      - never
    default: always
  force:
    description:
      - Whether to replace or remove the address of another user.
    type: bool
    default: false
seealso:
  - module: tiw.automation.online_record_callback_info
  - name: SetOnlineRecordCallback
    description: The page of the API action, with the events.
    link: https://www.tencentcloud.com/document/product/1176/53501
"""

EXAMPLES = r"""
- name: Receive the events, signed
  tiw.automation.online_record_callback:
    sdk_app_id: 1400000001
    url: https://hooks.example.com/tiw
    key: "{{ vault_callback_key }}"
  delegate_to: localhost

- name: Receive them signed with a generated key
  tiw.automation.online_record_callback:
    url: https://hooks.example.com/tiw
    generate_key: true
  delegate_to: localhost
  register: callbacks
  no_log: true

- name: Keep the key, which is returned once
  ansible.builtin.copy:
    content: "{{ callbacks.key }}"
    dest: /etc/tiw/callback_key
    mode: "0600"
  when: callbacks.key is not none
  no_log: true

- name: Replace the address of another user
  tiw.automation.online_record_callback:
    url: https://hooks.example.com/tiw
    force: true
  delegate_to: localhost

- name: Stop receiving them
  tiw.automation.online_record_callback:
    state: absent
    url: https://hooks.example.com/tiw
  delegate_to: localhost
"""

RETURN = r"""
callback:
  description: The settings at the end of the task; in check mode, the settings that it would make.
  returned: when the settings are known
  type: dict
  contains:
    sdk_app_id:
      description: The application.
      type: int
      returned: always
      sample: 1400000001
    url:
      description:
        - The address, null if none is set. The query, the user and the password are left out, as
          they may be secret.
      type: str
      returned: always
      sample: https://hooks.example.com/tiw
    key_is_set:
      description: Whether callbacks are signed. The key itself is never returned.
      type: bool
      returned: always
      sample: true
key:
  description:
    - The generated key. Null if none was generated, as in check mode. It is returned once, also if
      the task fails later. This collection cannot read it again. Set C(no_log=true) on the task,
      or a log may contain it.
  returned: with O(generate_key=true)
  type: str
  sample: MDtY0nT5hXn1vYq6bS1cJ2d3kL4mZ8wQe7rU9pA0fGs
previous:
  description: The settings before the task.
  returned: when the settings are known
  type: dict
  contains:
    sdk_app_id:
      description: The application.
      type: int
      returned: always
      sample: 1400000001
    url:
      description:
        - The address, null if none is set. The query, the user and the password are left out, as
          they may be secret.
      type: str
      returned: always
      sample: https://hooks.example.com/tiw
    key_is_set:
      description: Whether callbacks are signed. The key itself is never returned.
      type: bool
      returned: always
      sample: true
code:
  description: The error code of Tencent Cloud or of this collection.
  returned: failure
  type: str
  sample: CallbackTaken
request_id:
  description: The id of the request that failed, which Tencent Cloud's support asks for.
  returned: failure
  type: str
  sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
hint:
  description: How to correct the error.
  returned: failure
  type: str
  sample: Set force to replace it.
retryable:
  description: Whether the same task may succeed later without a change.
  returned: failure
  type: bool
  sample: false
"""

import typing as t

from ansible_collections.tiw.automation.plugins.module_utils._callback import (
    callback_dict,
    hide_query,
    shown,
)
from ansible_collections.tiw.automation.plugins.module_utils._module import failure, run_module

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from tiw_automation.core import TiwClient


class Settings(t.NamedTuple):
    """The address and the key of an application's callbacks; an empty string for none."""

    url: str
    key: str


NOTHING = Settings("", "")


class Wanted:
    """The options of the task, checked.

    :raises ConfigurationError: an option is invalid; nothing was sent.
    """

    def __init__(self, params: dict[str, t.Any]) -> None:
        from tiw_automation.core.api import check_callback_key, check_callback_url

        self.url = check_callback_url(params["url"])
        self.key = check_callback_key(params["key"])
        self.is_present: bool = params["state"] == "present"
        self.update_key: str = params["update_key"]
        self.generate: bool = params["generate_key"]
        self.rotate: bool = params["rotate_key"]
        self.force: bool = params["force"]
        self._refuse_contradictions(key_is_empty=params["key"] == "")

    def _refuse_contradictions(self, *, key_is_empty: bool) -> None:
        from tiw_automation.core import ConfigurationError

        if self.is_present and not self.url:
            hint = "Give the address, or state absent to have none."
            raise ConfigurationError("url is empty.", hint=hint)
        if self.is_present and key_is_empty:
            hint = "Leave it out to keep the key that is set."
            raise ConfigurationError("key is empty.", hint=hint)
        if self.rotate and not self.generate:
            hint = "Set generate_key as well."
            raise ConfigurationError("rotate_key is set without generate_key.", hint=hint)


class Change:
    """The change from the settings of the application to those of the task.

    :ivar new_key: the key that was generated, if one was.
    :raises TiwError: the settings cannot be read, or belong to another user.
    """

    def __init__(self, module: AnsibleModule, client: TiwClient, wanted: Wanted) -> None:
        self.module = module
        self.client = client
        self.wanted = wanted
        self.new_key: str | None = None
        found = client.describe_online_record_callback()
        hide_query(module, found.url)
        self.before = Settings(found.url or "", found.key or "")
        self.after = self._after()

    def _after(self) -> Settings:
        wanted, before = self.wanted, self.before
        if wanted.is_present:
            self._refuse_others("replace")
            return Settings(wanted.url, self._key_after())
        if not wanted.url:
            self._refuse_others("remove")
            return NOTHING
        if self._is_ours() or wanted.force:
            return NOTHING
        self.module.warn(f"The callbacks go to {shown(before.url)}. They were left unchanged.")
        return before

    def _is_ours(self) -> bool:
        """Return whether no address is set, or that of the task; queries do not count."""
        return not self.before.url or shown(self.before.url) == shown(self.wanted.url)

    def _refuse_others(self, verb: str) -> None:
        from tiw_automation.core import TiwError

        if self._is_ours() or self.wanted.force:
            return
        raise TiwError(
            f"The callbacks of {self.client.sdk_app_id()} go to {shown(self.before.url)} already, "
            "and an application has one address.",
            code="CallbackTaken",
            hint=f"Set force to {verb} it.",
        )

    def _key_after(self) -> str:
        from tiw_automation.core import new_callback_key

        wanted, (url, key) = self.wanted, self.before
        if wanted.generate and (wanted.rotate or not key or not self._is_ours()):
            self.new_key = new_callback_key()
            return self.new_key
        if not wanted.key:
            self._warn_if_weak(key)
        is_created = not key or not url or not self._is_ours()
        if wanted.update_key == "always" or (wanted.update_key == "on_create" and is_created):
            return wanted.key or key
        return key

    def _warn_if_weak(self, key: str) -> None:
        from tiw_automation.core.api import SHORTEST_KEY

        if 0 < len(key) < SHORTEST_KEY:
            self.module.warn(
                f"The key that is set has {len(key)} characters: it can be found by trial from "
                "one callback. Set generate_key and rotate_key to replace it."
            )

    def apply(self) -> None:
        """Set what differs.

        :raises TiwError: one of the two could not be set.
        """
        url, key = self.after
        # A new address comes last and an old one goes first: nothing is posted unsigned.
        if url != self.before.url and not url:
            self.client.set_online_record_callback(url)
        if key != self.before.key:
            self.client.set_online_record_callback_key(key)
        if url != self.before.url and url:
            self.client.set_online_record_callback(url)

    def key_result(self) -> dict[str, t.Any]:
        """Return the part of the result with the generated key; check mode sets none."""
        if not self.wanted.generate:
            return {}
        return {"key": None if self.module.check_mode else self.new_key}

    def to_result(self) -> dict[str, t.Any]:
        """Return the result of the task."""
        app_id = self.client.sdk_app_id()
        result = {
            "changed": self.before != self.after,
            "callback": callback_dict(app_id, *self.after),
            "previous": callback_dict(app_id, *self.before),
            **self.key_result(),
        }
        if self.module._diff:
            result["diff"] = {"before": _diff(self.before), "after": _diff(self.after, self.before)}
        return result


def _diff(side: Settings, before: Settings | None = None) -> dict[str, t.Any]:
    """Return one side of a diff, without secrets; the after side states that one has changed.

    :param before: the other side, for the after side.
    """
    url = shown(side.url) or None
    if before and side.url != before.url and url == (shown(before.url) or None):
        url = f"{url} (with another query)"
    is_new = before is not None and side.key != before.key
    return {"url": url, "key": "none" if not side.key else "a new one" if is_new else "set"}


def run(module: AnsibleModule, client: TiwClient) -> dict[str, t.Any]:
    from tiw_automation.core import TiwError
    from tiw_automation.core.api import PLAIN_HTTP, is_plain_http

    wanted = Wanted(module.params)
    if wanted.is_present and is_plain_http(wanted.url):
        module.warn(PLAIN_HTTP)
    change = Change(module, client, wanted)
    if not module.check_mode:
        try:
            change.apply()
        except TiwError as error:
            # It is unknown which of the two is set. The task can be run again.
            return failure(error, changed=True, **change.key_result())
    return change.to_result()


def main() -> None:
    run_module(
        run,
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "url": {"type": "str"},
            "key": {"type": "str", "no_log": True},
            "update_key": {
                "type": "str",
                "choices": ["always", "on_create", "never"],
                "default": "always",
                "no_log": False,
            },
            "generate_key": {"type": "bool", "default": False, "no_log": False},
            "rotate_key": {"type": "bool", "default": False, "no_log": False},
            "force": {"type": "bool", "default": False},
        },
        required_if=[("state", "present", ["url"])],
        mutually_exclusive=[("key", "generate_key")],
    )


if __name__ == "__main__":
    main()
