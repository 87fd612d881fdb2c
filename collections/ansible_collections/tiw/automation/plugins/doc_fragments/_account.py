# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account options of every module. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  secret_id:
    description:
      - The SecretId of a Tencent Cloud API key.
      - SecretId, SecretKey and token all come from the first source that has a SecretId or a
        SecretKey. They are never combined from several sources. The options come first, then
        O(profile), then the environment variables E(TENCENTCLOUD_SECRET_ID),
        E(TENCENTCLOUD_SECRET_KEY) and E(TENCENTCLOUD_TOKEN).
      - The environment is that of the process that runs the module. On the control node it is the
        environment of C(ansible-playbook).
    type: str
  secret_key:
    description:
      - The SecretKey that belongs to O(secret_id). In the environment E(TENCENTCLOUD_SECRET_KEY).
    type: str
  token:
    description:
      - The token of temporary keys, together with O(secret_id) and O(secret_key).
      - In the environment the first of E(TENCENTCLOUD_TOKEN), E(TENCENTCLOUD_SECURITY_TOKEN) and
        E(TENCENTCLOUD_SESSION_TOKEN) that is set.
    type: str
  profile:
    description:
      - A profile of Tencent Cloud's command line, as C(tccli configure) writes it. Its keys, its
        region and its role override those of the environment.
      - In the environment E(TENCENTCLOUD_PROFILE) or E(TCCLI_PROFILE).
      - If no keys are given, the next sources are, in this order, the default profile,
        C(~/.tencentcloud/credentials), the role of the pod on TKE (Tencent Kubernetes Engine), and
        the role of the cloud server.
    type: str
  role_arn:
    description:
      - The CAM role to assume with the keys, such as V(qcs::cam::uin/100000000001:roleName/tiw).
      - In the environment E(TENCENTCLOUD_ROLE_ARN) or E(TENCENTCLOUD_ASSUME_ROLE_ARN).
    type: str
  sdk_app_id:
    description:
      - The SdkAppId of the application that the recordings belong to, as the TIW console shows
        it. In the environment E(TIW_SDK_APP_ID).
    type: int
  site:
    description:
      - The site of the account. V(cn) is Tencent Cloud China, V(intl) Tencent Cloud
        International. It sets host and region, and overrides E(TIW_ENDPOINT) and the endpoint of
        a profile.
      - With neither O(site) nor O(region) requests go to C(tiw.tencentcloudapi.com) with the region
        V(ap-singapore).
    type: str
    choices:
      - cn
      - intl
  region:
    description:
      - The region, V(ap-guangzhou) or V(ap-singapore). It must not contradict O(site).
      - In the environment E(TENCENTCLOUD_REGION). A region there that does not serve TIW is ignored
        with a warning, because it may be set for other products.
    type: str
  endpoint:
    description:
      - A host, C(host:port) or C(http(s)://) URL to which requests go instead of the host of the
        O(site). In the environment E(TIW_ENDPOINT).
      - With C(http://) it must be this machine, unless O(allow_http) is set.
    type: str
  allow_http:
    description:
      - Whether an C(http://) O(endpoint) may be another machine. Set it only if you control the
        network between them; requests and answers can be read there.
      - In the environment E(TIW_ALLOW_HTTP).
    type: bool
  requests_per_second:
    description:
      - The pace, V(19) by default. Tencent Cloud allows 20 requests a second for each action of an
        account, from all clients together.
    type: float
  timeout:
    description:
      - The hard deadline of one request in seconds, V(10) by default.
    type: float
  ca_file:
    description:
      - The path of a bundle of CA certificates to trust, or of a folder of them
        (C(openssl rehash)), on the host that runs the module.
      - In the environment E(REQUESTS_CA_BUNDLE), E(CURL_CA_BUNDLE) or E(SSL_CERT_FILE).
    type: path
  proxy:
    description:
      - The URL of an HTTP proxy, such as V(http://proxy.example.com:3128).
      - In the environment E(HTTPS_PROXY), E(HTTP_PROXY) or E(ALL_PROXY). E(NO_PROXY) names the hosts
        that are reached without it.
    type: str
  quota_url:
    description:
      - The URL of a Redis or Valkey server where several hosts share the account's pace, such as
        V(rediss://user:password@redis.example.com:6379/0). Without it each host has its own pace.
      - It needs the Python package C(redis), which C(tiw-automation[redis]) installs.
      - In the environment E(TIW_QUOTA_URL).
    type: str
    version_added: 0.2.0
"""

    MODULE = r"""
options: {}
requirements:
  - python >= 3.11
  - tiw-automation >= 0.2.0, in the Python that runs the module
notes:
  - The task needs no managed host. On C(localhost), or with C(delegate_to=localhost), it runs on
    the control node. Set C(ansible_python_interpreter) to C({{ ansible_playbook_python }}) there, so
    that it runs in the Python of Ansible. Without it, Ansible chooses a Python by itself if the
    inventory lists C(localhost).
  - With C(become) on the play, set C(become=false) on the task if the account comes from the
    environment. C(sudo) does not pass the environment on.
  - Do not pass keys through the C(environment) keyword of a task. Ansible prints it in full with
    C(-vvv).
"""
