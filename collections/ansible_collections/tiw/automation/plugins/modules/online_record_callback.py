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
  - Sets the address and the key of the callbacks that Tencent Cloud's Interactive Whiteboard (TIW)
    posts when something happens to a real-time recording (C(SetOnlineRecordCallback),
    C(SetOnlineRecordCallbackKey)), or removes them.
  - There is one address for each application, which everybody who uses it shares. One that
    somebody else has set is never replaced or removed unless O(force=true).
extends_documentation_fragment:
  - tiw.automation._attributes
  - tiw.automation._attributes.writing_module
  - tiw.automation._attributes.action_group
  - tiw.automation._account
  - tiw.automation._account.module
options:
  state:
    description:
      - V(present) sets O(url), and O(key) as O(update_key) says.
      - V(absent) removes address and key. With O(url) it removes only that address; another one is
        left alone, with a warning. Without O(url) it removes whatever is set, which wants
        O(force=true).
    type: str
    choices:
      - present
      - absent
    default: present
  url:
    description:
      - The address, a full C(http://) or C(https://) URL that Tencent Cloud can reach. Needed for
        O(state=present).
      - An address that differs in its query alone counts as the same one, and is updated.
      - An C(http://) address is a warning, because a signature that is seen on its way is good for
        made-up callbacks until it ends.
    type: str
  key:
    description:
      - The key that callbacks are signed with, of 16 to 64 characters. Without it, and without
        O(generate_key=true), the key stays as it is.
      - Anyone who knows it can post callbacks. A short one is found by trial from one callback.
    type: str
  generate_key:
    description:
      - Whether to set a new random key of 43 characters and return it as RV(key) where none is set,
        or where O(force=true) takes an address over from somebody else, who knows the one that is
        set. Any other key that is set stays.
    type: bool
    default: false
  rotate_key:
    description:
      - Whether O(generate_key=true) sets a new key though one is set. Each run sets another one.
    type: bool
    default: false
  update_key:
    description:
      - When O(key) is set; it has no say in O(generate_key). V(always) if it differs from the one that is set, V(on_create) if
        O(url) was not set before or there is no key, V(never) not at all.
    type: str
    choices:
      - always
      - on_create
      - never
    default: always
  force:
    description:
      - Whether to replace or remove an address that somebody else has set.
    type: bool
    default: false
seealso:
  - module: tiw.automation.online_record_callback_info
  - name: SetOnlineRecordCallback
    description: The page of the API action, with the events.
    link: https://www.tencentcloud.com/document/product/1176/53501
"""

EXAMPLES = r"""
- name: Have the events posted to us, signed
  tiw.automation.online_record_callback:
    sdk_app_id: 1400000001
    url: https://hooks.example.com/tiw
    key: "{{ vault_callback_key }}"
  delegate_to: localhost

- name: Have them signed with a key that the module makes
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

- name: Take them over from whoever has them now
  tiw.automation.online_record_callback:
    url: https://hooks.example.com/tiw
    force: true
  delegate_to: localhost

- name: Have them no more
  tiw.automation.online_record_callback:
    state: absent
    url: https://hooks.example.com/tiw
  delegate_to: localhost
"""

RETURN = r"""
callback:
  description: What is set when the task ends; in check mode, what would be set.
  returned: when what is set is known
  type: dict
  contains:
    sdk_app_id:
      description: The application.
      type: int
      returned: always
      sample: 1400000001
    url:
      description:
        - Where callbacks go, null where nothing is set. What may be secret in it is left out, the
          query, the user and the password.
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
    - The key that was generated; null where none was, as in check mode. It is returned once, also where
      the task fails after that, and cannot be read with this collection later. Give the task
      C(no_log=true), or a log may hold it.
  returned: with O(generate_key=true)
  type: str
  sample: MDtY0nT5hXn1vYq6bS1cJ2d3kL4mZ8wQe7rU9pA0fGs
previous:
  description: What was set before.
  returned: when what is set is known
  type: dict
  contains:
    sdk_app_id:
      description: The application.
      type: int
      returned: always
      sample: 1400000001
    url:
      description:
        - Where callbacks go, null where nothing is set. What may be secret in it is left out, the
          query, the user and the password.
      type: str
      returned: always
      sample: https://hooks.example.com/tiw
    key_is_set:
      description: Whether callbacks are signed. The key itself is never returned.
      type: bool
      returned: always
      sample: true
code:
  description: The error code of Tencent Cloud, or one of this collection.
  returned: failure
  type: str
  sample: CallbackTaken
request_id:
  description: The id of the request that failed, which Tencent Cloud's support asks for.
  returned: failure
  type: str
  sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
hint:
  description: What to do about it.
  returned: failure
  type: str
  sample: Set force to replace it.
retryable:
  description: Whether the same task may succeed later without any change.
  returned: failure
  type: bool
  sample: false
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tiw.automation.plugins.module_utils._account import (
    ACCOUNT_ARGUMENTS,
    fail_with,
    hide_secrets,
    new_client,
)
from ansible_collections.tiw.automation.plugins.module_utils._callback import (
    callback_dict,
    hide_query,
    shown,
)
from ansible_collections.tiw.automation.plugins.module_utils._core import require_core

if t.TYPE_CHECKING:
    from tiw_automation.core import CallbackSettings, TiwClient


class Settings:
    """What is set, what shall be, and what was done about it; empty strings for nothing.

    :raises ConfigurationError: an option makes no sense; nothing was sent.
    """

    def __init__(self, module: AnsibleModule, client: TiwClient) -> None:
        from tiw_automation.core import ConfigurationError
        from tiw_automation.core.api import (
            PLAIN_HTTP,
            check_callback_key,
            check_callback_url,
            is_plain_http,
        )

        params = module.params
        self.module = module
        self.client = client
        self.sdk_app_id = client.sdk_app_id()
        self.wanted_url = check_callback_url(params["url"])
        self.wanted_key = check_callback_key(params["key"])
        self.is_present: bool = params["state"] == "present"
        if self.is_present and not self.wanted_url:
            raise ConfigurationError(
                "url is empty.", hint="Give the address, or state absent to have none."
            )
        if self.is_present and params["key"] == "":
            raise ConfigurationError(
                "key is empty.", hint="Leave it out to keep the key that is set."
            )
        if params["rotate_key"] and not params["generate_key"]:
            raise ConfigurationError(
                "rotate_key is set without generate_key.", hint="Set generate_key as well."
            )
        if self.is_present and is_plain_http(self.wanted_url):
            module.warn(PLAIN_HTTP)
        self.before = self.after = ("", "")
        self.new_key: str | None = None

    def find(self) -> None:
        """Find out what is set, and what shall be.

        :raises TiwError: it cannot be found out, or the address is somebody else's.
        """
        found: CallbackSettings = self.client.describe_online_record_callback()
        self.before = self.after = (found.url or "", found.key or "")
        hide_query(self.module, found.url)
        if self.is_present:
            self._refuse_others(found.url, "replace")
            self.after = (self.wanted_url, self._key_after())
        elif not self.wanted_url:
            self._refuse_others(found.url, "remove")
            self.after = ("", "")
        elif self._is_ours(found.url) or self.module.params["force"]:
            self.after = ("", "")
        else:
            self.module.warn(f"The callbacks go to {shown(found.url)}, which is left alone.")

    def _is_ours(self, url: str | None) -> bool:
        return not url or shown(url) == shown(self.wanted_url)

    def _refuse_others(self, url: str | None, verb: str) -> None:
        from tiw_automation.core import TiwError

        if self._is_ours(url) or self.module.params["force"]:
            return
        raise TiwError(
            f"The callbacks of {self.sdk_app_id} go to {shown(url)} already, and one application "
            "has one address.",
            code="CallbackTaken",
            hint=f"Set force to {verb} it.",
        )

    def _key_after(self) -> str:
        from tiw_automation.core import new_callback_key
        from tiw_automation.core.api import SHORTEST_KEY

        params = self.module.params
        when = params["update_key"]
        url, key = self.before
        if params["generate_key"] and (params["rotate_key"] or not key or not self._is_ours(url)):
            self.new_key = new_callback_key()
            return self.new_key
        if key and not self.wanted_key and len(key) < SHORTEST_KEY:
            self.module.warn(
                f"The key that is set has {len(key)} characters: it is found by trial from one "
                "callback. Set generate_key and rotate_key for a good one."
            )
        if not self.wanted_key or when == "never":
            return key
        if when == "on_create" and key and self._is_ours(url) and url:
            return key
        return self.wanted_key

    def apply(self) -> None:
        """Set what differs.

        :raises TiwError: it could not be set; ``before`` is what was set last.
        """
        old_url, old_key = self.before
        url, key = self.after
        steps = []
        if key != old_key:
            steps.append(lambda: self.client.set_online_record_callback_key(key))
        if url != old_url:
            # A new address comes last and an old one goes first: nothing is posted unsigned.
            steps.insert(
                0 if not url else len(steps),
                lambda: self.client.set_online_record_callback(url),
            )
        for step in steps:
            step()

    def found_key(self) -> dict[str, t.Any]:
        """Return the generated key, which check mode has set nowhere."""
        if not self.module.params["generate_key"]:
            return {}
        return {"key": None if self.module.check_mode else self.new_key}

    def to_result(self) -> dict[str, t.Any]:
        """Return the result of the task."""
        result: dict[str, t.Any] = {
            "changed": self.before != self.after,
            "callback": callback_dict(self.sdk_app_id, *self.after),
            "previous": callback_dict(self.sdk_app_id, *self.before),
        }
        result.update(self.found_key())
        if self.module._diff:
            result["diff"] = {
                "before": _diff_side(self.before, None),
                "after": _diff_side(self.after, self.before),
            }
        return result


def _diff_side(side: tuple[str, str], before: tuple[str, str] | None) -> dict[str, t.Any]:
    """Return what a diff shows: no secret, but that one has changed."""
    url, key = side
    shown_url = shown(url) or None
    if before and url != before[0] and shown_url == (shown(before[0]) or None):
        shown_url = f"{shown_url} (with another query)"
    changed = before is not None and key != before[1]
    word = "none" if not key else "a new one" if changed else "set"
    return {"url": shown_url, "key": word}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
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
            **ACCOUNT_ARGUMENTS,
        },
        required_if=[
            ("state", "present", ["url"]),
        ],
        mutually_exclusive=[("key", "generate_key")],
        supports_check_mode=True,
    )
    hide_secrets(module)
    hide_query(module, module.params["url"])
    require_core(module)

    from tiw_automation.core import TiwError

    try:
        settings = Settings(module, new_client(module))
        settings.find()
    except TiwError as error:
        fail_with(module, error)
    if not module.check_mode:
        try:
            settings.apply()
        except TiwError as error:
            # Which of the two is set is not known, and need not be: it may be run again.
            fail_with(module, error, changed=True, **settings.found_key())
    module.exit_json(**settings.to_result())


if __name__ == "__main__":
    main()
