"""What small configurations share: a vocabulary that is no round number, and formats that round nothing."""

from __future__ import annotations

V = 301
EXACT = {"weight_format": "f32", "kv_format": "f32"}
