"""`python -m chatsvc node DIR --replica I`: the operating commands without the clients' package."""

from __future__ import annotations

import sys

from cyclopts import App

from chatsvc.commands import add_commands

if __name__ == "__main__":
    app = App(name="python -m chatsvc")
    add_commands(app, App.command)
    sys.exit(app())
