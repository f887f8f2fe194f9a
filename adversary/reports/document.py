"""What all pages share: one file, no script, nothing fetched from anywhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from adversary.reports.html import Child, Html, el

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Even if something slipped through, a browser would neither run nor fetch it."""


def document(title: str, body: Child) -> Html:
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        el("style", _style()),
    )
    foot = el(
        "footer",
        "Made by Quorate, a chat that keeps telling the truth while some of its servers lie. "
        "This page is one file: it runs no script and loads nothing.",
    )
    page = el("html", head, el("body", el("main", body), foot), lang="en")
    return Html(f"<!doctype html>\n{page}\n")


@cache
def _style() -> Html:
    """The style sheet of this package: the only text that is not escaped."""
    return Html(files(__package__).joinpath("report.css").read_text(encoding="utf-8"))
