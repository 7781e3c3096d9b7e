"""The folder that a training leaves behind: it appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.folders import appearing as appearing
from sandbox.folders import refuse_used as refuse_used


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """`value` as indented JSON; raises ValueError on NaN."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")
