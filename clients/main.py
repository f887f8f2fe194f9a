"""The one command `quorate`, composed of what each package brings. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points, version

from cyclopts import App

COMMANDS = "quorate.commands"


def make_app() -> App:
    """All commands of all packages, under one name."""
    app = App(
        name="quorate",
        help="A chat that no f machines can silence, forge, reorder or lose.",
        version=lambda: version("quorate"),
    )
    for point in sorted(entry_points(group=COMMANDS), key=lambda point: point.name):
        point.load()(app)
    return app


def main() -> None:
    sys.exit(make_app()())


if __name__ == "__main__":
    main()
