"""What `quorate` and `quorate --help` show, at once: nothing is imported for it, and no command is looked up.

The list of commands is the file `data/commands.tsv`, which `clients.manual` writes; a test compares both.
"""

from __future__ import annotations

import os
import sys

ASKS_FOR_IT: list[list[str]] = [[], ["--help"], ["-h"]]
"""Arguments that are answered by the front page."""
INTRODUCTION = "A chat that no f machines can silence, forge, reorder or lose."
WIDTH_WITHOUT_TERMINAL = 80
WIDTH_MIN = 40
"""In less the names leave no room for what they mean."""


def table_path() -> str:
    """Where the list is: lines of group, name and help between tabs, in the order in which they are shown."""
    return os.path.join(os.path.dirname(__file__), "data", "commands.tsv")  # noqa: PTH118, PTH120 - takes no import


def show() -> bool:
    """Print the page. False if that is left to those who know this terminal better, or have the list."""
    out = sys.stdout
    encoding = (out.encoding or "").lower().replace("-", "")
    if os.name != "posix" or encoding != "utf8" or "FORCE_COLOR" in os.environ:
        return False
    is_terminal = out.isatty()
    coloured = is_terminal and os.environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}
    try:
        with open(table_path(), encoding="utf-8") as file:  # noqa: PTH123 - takes no import
            rows = [tuple(line.rstrip("\n").split("\t")) for line in file]
    except OSError:
        return False
    width = _width(is_terminal=is_terminal)
    if width < WIDTH_MIN:
        return False
    out.write(page(rows, width, coloured=coloured, bold_only="NO_COLOR" in os.environ))
    return True


def _width(*, is_terminal: bool) -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdigit():
        return int(given)
    if not is_terminal:
        return WIDTH_WITHOUT_TERMINAL
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or WIDTH_WITHOUT_TERMINAL
    except OSError:
        return WIDTH_WITHOUT_TERMINAL


def page(rows: list[tuple[str, ...]], width: int, *, coloured: bool, bold_only: bool = False) -> str:
    """Return the page as every other help looks. `rows`: group, name and help, those of a group side by side."""
    bold, cyan, end = ("\033[1m", "" if bold_only else "\033[36m", "\033[0m") if coloured else ("", "", "")
    lines = [f"{bold}Usage: {end}{bold}quorate COMMAND{end}", "", *_wrapped(INTRODUCTION, width), ""]
    groups: dict[str, list[tuple[str, str]]] = {}
    for group, name, text in rows:
        groups.setdefault(group, []).append((name, text))
    for group, commands in groups.items():
        wide = max(len(name) for name, _ in commands)
        lines.append(f"╭─ {group} {'─' * (width - len(group) - 5)}╮")
        for name, text in commands:
            for number, part in enumerate(_wrapped(text, width - wide - 6)):
                first = name if number == 0 else ""
                lines.append(f"│ {cyan}{first:<{wide}}{end if cyan else ''}  {part:<{width - wide - 6}} │")
        lines.append(f"╰{'─' * (width - 2)}╯")
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines
