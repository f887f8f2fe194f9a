"""All commands as they are listed and documented: `python -m clients.manual` writes `docs/commands.md` and what
`quorate --help` shows, out of the commands themselves.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import cyclopts
from cyclopts import App, Group

from clients.front_page import table_path
from clients.main import COMMANDS

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
ALWAYS = (
    ("Commands", "--help (-h)", "Display this message and exit."),
    ("Commands", "--version", "Display application version."),
)
INTRODUCTION = """# Commands

What `quorate COMMAND --help` says of each, on one page, written by `python -m clients.manual`.

All commands that speak to a group take these options; the first two are better set once, in the environment:

| Option | |
|---|---|
| `--group PATH` | the group file, or its directory; else `QUORATE_GROUP` |
| `--identity PATH` | your identity file; else `QUORATE_IDENTITY`, else where this system keeps settings |
| `--json` | one JSON object per line on stdout and nothing else there |
| `--timeout SECONDS` | how long to wait for enough replicas, and for an outcome; 10 |
| `--utc` | show and read times in UTC instead of local time |

A passphrase is asked for without being shown, or taken from `QUORATE_PASSPHRASE`; a new one, where there is one
already, from `QUORATE_NEW_PASSPHRASE`. Spans of time are written like `90s`, `15m`, `2h30m`, `7d`, `1w`. Rooms are
called `garden` or `#garden`, the direct conversation with somebody `@bob`, that of several people `@bob,carol`. Bold,
italic, code, links and quotes are shown as they are meant on a terminal, and as they were written in a pipe.

Exit codes: 0 accepted, 1 the machine failed, 2 usage, 3 outcome unknown, 4 rejected, 5 replicas disagree,
6 authentication.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A command. `group` is empty for one below another command, `function` None for one that only has some below."""

    name: str
    group: str
    line: str
    function: Callable[..., Any] | None


@dataclass
class Recorder:
    """Stands for the application while commands are added."""

    listed: list[Listed] = field(default_factory=list)
    order: dict[str, Any] = field(default_factory=dict)
    """Of groups that have one."""

    def command(self, app: App) -> None:
        """A command with commands below."""
        name, function = app.name[0], app.default_command
        self.listed.append(Listed(name=name, group=self._group(app.group), line=app.help, function=function))

    def add(self, app: object, path: str, *, name: str, help: str, group: str | Group = "") -> None:  # noqa: A002
        """A command, of this recorder or below another one."""
        module, attribute = path.split(":")
        function = getattr(importlib.import_module(module), attribute)
        where = f"{app.name[0]} " if isinstance(app, App) else ""
        self.listed.append(Listed(name=f"{where}{name}", group=self._group(group), line=help, function=function))

    def _group(self, group: Any) -> str:
        for each in group if isinstance(group, tuple) else (group,):
            if isinstance(each, Group):
                self.order[each.name] = each.sort_key
                return each.name
            return str(each)
        return ""

    def rank(self, group: str) -> tuple[bool, Any]:
        """Groups with a place of their own come first, the others by their names."""
        place = self.order.get(group)
        return (False, place) if place is not None else (True, group)


def recorded() -> Recorder:
    """All commands of all packages."""
    recorder = Recorder()
    for point in sorted(entry_points(group=COMMANDS), key=lambda point: point.name):
        point.load()(recorder, recorder.add)
    return recorder


def front_table(recorder: Recorder) -> list[tuple[str, str, str]]:
    """The rows of the front page: group, name, help."""
    top = [each for each in recorder.listed if each.group]
    top.sort(key=lambda each: (recorder.rank(each.group), each.name))
    return [*ALWAYS, *((each.group, each.name, each.line) for each in top)]


def render_table(recorder: Recorder) -> str:
    return "".join("\t".join(row) + "\n" for row in front_table(recorder))


def render_page(recorder: Recorder) -> str:
    """The page of all commands."""
    parts = [INTRODUCTION]
    below = [each for each in recorder.listed if not each.group]
    group = None
    by_name = {each.name: each for each in recorder.listed if each.group}
    for title, name, _ in front_table(recorder)[len(ALWAYS) :]:
        if title != group:
            parts.append(f"## {title}\n")
            group = title
        command = by_name[name]
        parts.append(_entry(command))
        parts += [_entry(each) for each in below if each.name.startswith(f"{name} ")]
    return "\n".join(parts)


def _entry(command: Listed) -> str:
    if command.function is None:
        return f"### `{command.name}`\n\n{command.line}\n"
    text, examples, parameters = _parts(inspect.getdoc(command.function) or "")
    lines = [f"### `{command.name}`", "", f"    {_usage(command.name, command.function)}", "", text, ""]
    if parameters:
        marks = _marks(command.function)
        lines += [f"- `{marks.get(name, name)}`: {said}" for name, said in parameters.items()]
        lines.append("")
    if examples:
        lines += ["For example:", "", *(f"    {example}" for example in examples), ""]
    return "\n".join(lines)


def _parts(docstring: str) -> tuple[str, list[str], dict[str, str]]:
    """What it says, its examples, and its parameters."""
    above, _, below = docstring.partition("Parameters\n----------\n")
    examples = [line.removeprefix("Example: ") for line in above.splitlines() if line.startswith("Example: ")]
    said = [line for line in above.splitlines() if not line.startswith("Example: ")]
    parameters: dict[str, str] = {}
    name = ""
    for line in below.splitlines():
        if line and not line.startswith(" "):
            name = line.strip()
        elif line.strip():
            parameters[name] = f"{parameters[name]} {line.strip()}" if name in parameters else line.strip()
    return "\n".join(said).strip(), examples, parameters


def _usage(name: str, function: Callable[..., Any]) -> str:
    optional = _optional(function)
    return " ".join(
        [
            f"quorate {name}",
            *(f"[{mark}]" if parameter in optional else mark for parameter, mark in _marks(function).items()),
        ]
    )


def _optional(function: Callable[..., Any]) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name for each in parameters if each.default is not each.empty}


def _marks(function: Callable[..., Any]) -> dict[str, str]:
    """How each parameter is written on a command line."""
    hints = get_type_hints(function, include_extras=True)
    marks: dict[str, str] = {}
    for each in inspect.signature(function).parameters.values():
        if each.name == "common":
            continue
        names = _option_names(each.name, hints[each.name])
        value = each.name.upper().replace("_", "-")
        if each.kind is each.VAR_POSITIONAL:
            marks[each.name] = f"{value.removesuffix('S')}..."
        elif each.kind is not each.KEYWORD_ONLY:
            marks[each.name] = value
        elif _is_flag(hints[each.name]):
            marks[each.name] = f"--no-{each.name.replace('_', '-')}" if each.default is True else ", ".join(names)
        else:
            marks[each.name] = f"{', '.join(names)} {value}"
    return marks


def _option_names(name: str, hint: Any) -> tuple[str, ...]:
    for more in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(more, cyclopts.Parameter) and more.name:
            return tuple(more.name)
    return (f"--{name.replace('_', '-')}",)


def _is_flag(hint: Any) -> bool:
    return (get_args(hint)[0] if get_origin(hint) is Annotated else hint) is bool


def main() -> int:
    recorder = recorded()
    PAGE.write_text(render_page(recorder), encoding="utf-8")
    Path(table_path()).write_text(render_table(recorder), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
