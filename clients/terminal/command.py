"""`quorate chat`."""

from __future__ import annotations

import os
import sys
from datetime import UTC
from functools import partial
from typing import Annotated

from cyclopts import Parameter

from clients.console import COMMON, Common, Output, fail, load_group, load_identity, report_lies, run
from clients.identity import default_identity_path
from clients.sdk import ExitCode
from clients.terminal.palette import Theme


def chat(
    room: str | None = None,
    *,
    theme: Theme = Theme.AUTO,
    bell: Annotated[bool, Parameter(negative="--no-bell")] = True,
    common: Common = COMMON,
) -> int:
    """Chat on the whole screen. F1 shows the keys, /help the commands, Ctrl-C leaves.

    Example: quorate chat ubuntu

    Parameters
    ----------
    room
        The room to begin in; it is joined if need be.
    theme
        Colours for a dark or a light terminal; auto asks COLORFGBG.
    bell
        Ring the terminal's bell when somebody means you.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return fail("the chat needs a terminal: see `quorate tail -f` and `quorate send` for pipes", ExitCode.USAGE)
    return run(partial(_chat, room, theme, bell=bell, common=common), utc=common.utc)


async def _chat(room: str | None, theme: Theme, *, bell: bool, common: Common) -> int:
    from urwid.display.raw import Screen as Terminal  # noqa: PLC0415 - `urwid` only where it is drawn

    from clients.terminal.app import App, Options, show  # noqa: PLC0415

    file = load_group(common)
    path = common.identity or default_identity_path()
    signer = load_identity(common) if path.exists() else None
    zone = UTC if common.utc else None
    options = Options(identity=path, theme=theme, bell=bell, room=room, timeout_s=common.timeout, zone=zone)
    terminal = Terminal(bracketed_paste_mode=True)

    def ring() -> None:
        terminal.write("\a")
        terminal.flush()

    app = App(file.directory(), signer, options, ring=ring, on_redraw=terminal.clear)
    await show(app, terminal, options, os.environ)
    for line in app.model.unsent():
        Output(as_json=False).remark(line)
    if app.chat is not None:
        report_lies(app.chat, Output(as_json=False))
    return 0
