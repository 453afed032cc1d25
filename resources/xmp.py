"""The XMP packet of a picture: the one that we write, and what any packet says.

Belongs here: the words of the mark and their spellings. XMP may say the same as an attribute or as an element, in
either kind of quotes, and whoever saves a file again chooses: exiftool and Adobe write elements. A stranger's packet is
searched, never parsed as XML: nothing in it is expanded or fetched. Where it lies in a file is `containers`'.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import quoteattr

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"  # IPTC NewsCodes
_SAYS = r"(?:\s*=\s*[\"']|\s*>|\s+rdf:resource\s*=\s*[\"'])\s*"  # an attribute, an element's text, its rdf:resource
_SOURCE = re.compile(
    rf"DigitalSourceType{_SAYS}https?://cv\.iptc\.org/newscodes/digitalsourcetype/([A-Za-z]{{1,60}})\s*[\"'<]"
)
_TOOL = re.compile(rf"xmp:CreatorTool{_SAYS}([^\"'<]{{1,200}})")
_ORIENTATION = re.compile(rf"tiff:Orientation{_SAYS}([2-8])")
_ORIGINAL = re.compile(rf"OriginalDocumentID{_SAYS}xmp\.did:([0-9a-f]{{64}})\s*[\"'<]".encode())


def packet(source: str, tool: str, original: str) -> str:
    """The packet that says how a picture was made (the last word of the DigitalSourceType), by which tool, from what.

    `original` is the pixels_sha256 of the picture that it is, or was made from; empty: nothing is said of that.
    """
    named = f' xmpMM:OriginalDocumentID="xmp.did:{original}"' if original else ""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f"xmp:CreatorTool={quoteattr(tool)}{named} "
        f'Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}{source}"/>'
        "</rdf:RDF></x:xmpmeta>"
    )


def source_of(text: str) -> str:
    """The last word of the IPTC DigitalSourceType; empty without one."""
    found = _SOURCE.search(text)
    return found[1] if found else ""


def tool_of(text: str) -> str:
    """xmp:CreatorTool as it is written; empty without one."""
    found = _TOOL.search(text)
    return found[1] if found else ""


def original_of(data: bytes) -> str:
    """The pixels_sha256 that is named as the original, in a packet or anywhere in a damaged file; empty without one."""
    found = _ORIGINAL.search(data)
    return found[1].decode() if found else ""


def turns(text: str) -> bool:
    """Whether it asks viewers to turn or mirror the picture."""
    return bool(_ORIENTATION.search(text))
