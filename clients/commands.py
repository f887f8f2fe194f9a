"""The commands of those who use a group. Imported for every `quorate --help`: nothing heavy at the top."""

from __future__ import annotations

from cyclopts import App

app = App(name="clients")
