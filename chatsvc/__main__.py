"""`python -m chatsvc node DIR --replica I`: the operating commands without the clients' package."""

from __future__ import annotations

import sys

from chatsvc.commands import app

if __name__ == "__main__":
    sys.exit(app())
