"""XML that anybody may have written, read without entities, in whatever encoding.

Expansion of entities and files from elsewhere need a DOCTYPE, which neither ESA's metadata nor a
virtual raster has: the parser of the standard library is stopped where it begins one.
"""

from __future__ import annotations

# Read through _NoDoctype alone, see above.
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser  # nosec B405

__all__ = ["Element", "root_of"]

# Small, for expat goes on to the end of what it was given after it was told to stop.
_PIECE = 1 << 16


class _NoDoctype(TreeBuilder):
    def doctype(self, *_: object) -> None:
        """Called by the parser, before it reads what a DOCTYPE declares."""
        raise ValueError("it has a DOCTYPE, which may declare entities, and no product needs one")


def root_of(text: bytes | str) -> Element:
    """Return the root of an xml document; ValueError where it is none, or declares a DOCTYPE."""
    parser = XMLParser(target=_NoDoctype())  # nosec B314
    try:
        for start in range(0, len(text), _PIECE):
            parser.feed(text[start : start + _PIECE])
        root = parser.close()
    except (ParseError, LookupError, RecursionError) as problem:
        raise ValueError(str(problem)) from problem
    if not isinstance(root, Element):
        raise ValueError("it has no root")
    return root
