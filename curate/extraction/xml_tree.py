"""XML parsed without trust: no DTD, no entity expansion, no network, libxml2's own limits on depth and size.

Character entities by their HTML names (`&nbsp;`, `&alpha;`) are understood where a DOCTYPE promises
them, without reading it; any other entity
reference refuses the document, because the text that it stands for would be missing.
"""

from __future__ import annotations

import html.entities
import re
from typing import Any

from lxml import etree

from curate.extraction.errors import ExtractionError

_BLANK = re.compile(r"[ \t\r\n\f\xa0]+")


def parse(data: bytes | str) -> etree._Element:
    """The root element; ExtractionError when the document is not well-formed XML.

    Elements may be nested 256 deep and a text node may have 10 MB (libxml2's limits).
    """
    encoding = "utf-8" if isinstance(data, str) else None
    parser = etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        strip_cdata=True,
    )
    raw = data.encode("utf-8", "replace") if isinstance(data, str) else data
    try:
        return etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        raise ExtractionError(f"not well-formed XML: {error.msg or 'empty document'}") from error
    except (LookupError, ValueError) as error:
        raise ExtractionError(f"not well-formed XML: {error}") from error


def tag(node: Any) -> str:
    """Local name of an element; "" for an entity reference."""
    name = node.tag
    if not isinstance(name, str):
        return ""
    return name.rpartition("}")[2] if name[0] == "{" else name


def entity(node: Any) -> str:
    """The text of an entity reference; ExtractionError when its name is not one of HTML's."""
    name = node.name
    if name.startswith("#"):  # libxml2 leaves a character reference unresolved only where it is invalid
        raise ExtractionError(f"invalid character reference &{name};")
    known = html.entities.html5.get(f"{name};")
    if known is None:
        raise ExtractionError(f"undefined entity &{name};")
    return known


def collapse(text: str) -> str:
    """Runs of blanks as one blank, none at the ends."""
    return _BLANK.sub(" ", text).strip(" ")
