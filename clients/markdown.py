"""What people mark up in messages, shown on a terminal: **bold**, *italic*, `code`, [links](https://...), > quotes,
and blocks of code between lines of three backticks. Anything else, and anything unfinished, stays as it was written.
"""

from __future__ import annotations

import re

from rich.style import Style
from rich.text import Text

CODE = Style(color="cyan")
QUOTED = Style(dim=True)
BOLD = Style(bold=True)
ITALIC = Style(italic=True)
LINK = Style(underline=True)

_BLOCK = re.compile(r"^```[\w+-]*\n(.*?)\n?^```[ \t]*$\n?", re.DOTALL | re.MULTILINE)
_URL = r"https?://[^\s<>)\]]+"
_SPAN = re.compile(
    r"`(?P<code>[^`\n]+)`"
    r"|\*\*(?=\S)(?P<bold>[^\n]+?)(?<=\S)\*\*"
    rf"|\[(?P<text>[^\[\]\n]+)\]\((?P<target>{_URL})\)"
    rf"|(?P<url>{_URL})"
    r"|(?<![\w*])\*(?=[^\s*])(?P<star>[^*\n]*[^*\s])\*(?![\w*])"
    r"|(?<!\w)_(?=[^\s_])(?P<low>[^_\n]*[^_\s])_(?!\w)"
)
_QUOTE = re.compile(r"> ?")
_DEPTH_MAX = 3


def marked_up(body: str) -> Text:
    """Return the message with its marks turned into styles. Takes time linear in its length but for odd bodies."""
    shown = Text()
    position = 0
    for block in _BLOCK.finditer(body):
        _lines(shown, body[position : block.start()])
        shown.append(block[1], CODE)
        position = block.end()
        if position < len(body):
            shown.append("\n")
    _lines(shown, body[position:])
    return shown


def _lines(shown: Text, text: str) -> None:
    for number, line in enumerate(text.split("\n")):
        if number:
            shown.append("\n")
        quote = _QUOTE.match(line)
        if quote:
            shown.append("\u258e ", QUOTED)
            _spans(shown, line[quote.end() :], QUOTED, _DEPTH_MAX)
        else:
            _spans(shown, line, Style.null(), _DEPTH_MAX)


def _spans(shown: Text, text: str, style: Style, depth: int) -> None:
    position = 0
    for found in _SPAN.finditer(text) if depth else ():
        shown.append(text[position : found.start()], style)
        position = found.end()
        match found.lastgroup:
            case "code":
                shown.append(found["code"], style + CODE)
            case "bold":
                _spans(shown, found["bold"], style + BOLD, depth - 1)
            case "target":
                # The target is always seen: a text may claim to lead somewhere else.
                shown.append(found["text"], style)
                shown.append(" <", style)
                shown.append(found["target"], style + LINK + Style(link=found["target"]))
                shown.append(">", style)
            case "url":
                shown.append(found["url"], style + LINK + Style(link=found["url"]))
            case name:
                _spans(shown, found[name or 0], style + ITALIC, depth - 1)
    shown.append(text[position:], style)
