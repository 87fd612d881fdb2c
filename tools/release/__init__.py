# SPDX-License-Identifier: Apache-2.0
"""Makes a release: ``make release VERSION=x``. RELEASING.md describes the whole way.

``places``: where the version stands. ``changelogs``: both changelogs. ``artifacts``: the files of a
release, byte for byte the same each time. ``inspections``: what other tools find in them.
``trials``: the files in empty environments, with the README's examples.
"""
