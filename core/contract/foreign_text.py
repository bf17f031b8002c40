"""Texts that somebody else wrote: they are shown as they stand, and nothing reads them as code."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

_FORMULA = ("=", "+", "-", "@")
# It has no width, and parts what would begin a tag or an expression.
_PART = "\N{WORD JOINER}"
_LIKE_A_TAG = "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}"
_TURNS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def inert(text: str) -> str:
    """Return a text that looks the same, and that neither Qt nor QGIS takes for more than text.

    Qt shows as HTML whatever looks like it, in tooltips and labels; QGIS evaluates ``[% %]`` in
    legends. Neither has an escape that is not seen where the text is shown as it is.
    """
    # Qt takes "< b>" for a tag too.
    return text.replace("<", f"<{_PART}").replace("[%", f"[{_PART}%")


def without_tags(text: str) -> str:
    """Return a text for what is always read as HTML, and sometimes shown as text as well."""
    return text.replace("<", _LIKE_A_TAG)


def is_formula(text: str) -> bool:
    """Tell whether a spreadsheet would compute the text when it reads it from a table.

    Some take the full-width forms of East Asian keyboards for the signs they look like.
    """
    return unicodedata.normalize("NFKC", text).lstrip().startswith(_FORMULA)


def looks_like(text: str) -> str:
    """Return a key that is the same for names that a reader cannot tell apart."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def printable(value: Any) -> Any:
    """Return a JSON value whose texts can be stored, printed and shown.

    Half characters, which JSON can hold and UTF-8 cannot, and characters that steer a terminal
    or turn the direction of writing become question marks.
    """
    if isinstance(value, str):
        text = value.replace("\r\n", "\n")
        return "".join("?" if _steers(character) else character for character in text)
    if isinstance(value, Mapping):
        return {printable(key): printable(item) for key, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list) else value


def _steers(character: str) -> bool:
    is_control = unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t"
    return is_control or character in _TURNS
