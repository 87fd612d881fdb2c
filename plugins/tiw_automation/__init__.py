# SPDX-License-Identifier: Apache-2.0
"""Automation for recordings of Tencent Cloud's Interactive Whiteboard (TIW)."""

__version__ = "0.2.0"
