"""The one command `quorate`, composed of what each package brings. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import sys

from clients import front_page

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself would be imported for every --help
    from typing import Any

    from cyclopts import App

COMMANDS = "quorate.commands"


def add_lazily(app: App, path: str, *, name: str, help: str, **options: Any) -> None:  # noqa: A002 - cyclopts' own word
    """Register a command by import path. `help` stands in listings; the command asked for speaks for itself."""
    if name not in sys.argv[1:3]:
        options["help"] = help
    app.command(path, name=name, **options)


def make_app() -> App:
    """All commands of all packages, under one name."""
    from importlib.metadata import entry_points, version  # noqa: PLC0415 - not for every --help

    from cyclopts import App  # noqa: PLC0415 - the same

    app = App(
        name="quorate",
        help=front_page.INTRODUCTION,
        version=lambda: version("quorate"),
        help_format="plaintext",  # the formatted kinds load a Markdown parser and a highlighter first
    )
    for point in sorted(entry_points(group=COMMANDS), key=lambda point: point.name):
        point.load()(app, add_lazily)
    return app


def main() -> None:
    if sys.argv[1:] in front_page.ASKS_FOR_IT and front_page.show():
        sys.exit(0)
    sys.exit(make_app()())


if __name__ == "__main__":
    main()
