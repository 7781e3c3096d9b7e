"""Plain data as TOML, the other way round than tomllib."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def toml_of(values: Mapping[str, Any]) -> str:
    """A TOML text of strings, booleans, numbers, and lists and mappings of them; what is None is left out.

    Mappings at the top become tables, at the end of the text; deeper ones are written in line. Raises TypeError on
    other values.
    """
    told = {name: value for name, value in values.items() if value is not None}
    lines = [_pair(name, value) for name, value in told.items() if not isinstance(value, Mapping)]
    for name, table in told.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{_key(name)}]", *(_pair(key, value) for key, value in table.items() if value is not None)]
    return "\n".join(lines) + "\n"


def _pair(key: str, value: object) -> str:
    return f"{_key(key)} = {_value(value)}"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _value(value: object) -> str:
    match value:
        case str():
            return _string(value)
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)  # inf and nan as well
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case Mapping():
            inside = ", ".join(_pair(key, each) for key, each in value.items() if each is not None)
            return f"{{{inside}}}"
    raise TypeError(f"{value!r} cannot be written as TOML")


def _string(text: str) -> str:
    # JSON's escapes are TOML's, which wants one for DEL, too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
