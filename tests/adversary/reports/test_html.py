"""Whatever attackers write, a page shows and never obeys."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from adversary.attacks.outcome import Moment, Proof
from adversary.reports.html import TEXT_MAX, Html, el, join, shown
from adversary.reports.index import index_page
from adversary.reports.naming import report_name
from adversary.reports.page import page
from adversary.simulator.scenario import Liar
from tests.adversary.reports.outcomes import attack, outcome

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"' onload='x' </style></title></svg>--><b>&amp;"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("<b>", "&lt;b&gt;"),
        ("a & b", "a &amp; b"),
        ("\"'", "&quot;&#x27;"),
        ("\u202egnp.exe", "\u27e8U+202E\u27e9gnp.exe"),
        ("\x00\x1b[31m", "\u27e8U+0000\u27e9\u27e8U+001B\u27e9[31m"),
        ("\u200b\ufeff", "\u27e8U+200B\u27e9\u27e8U+FEFF\u27e9"),
        ("\ud800", "\u27e8U+D800\u27e9"),
        ("one\ntwo", "one\ntwo"),
    ],
)
def test_texts_are_escaped_and_nothing_in_them_hides(text: str, seen: str) -> None:
    assert join(text) == seen
    assert el("p", title=text) == f'<p title="{seen}"></p>'


def test_markup_is_kept_and_lists_are_joined() -> None:
    assert el("p", "1 < 2", [el("b", 3), None], Html("<i></i>")) == "<p>1 &lt; 2<b>3</b><i></i></p>"


def test_a_long_text_is_cut() -> None:
    assert len(shown("x" * 1_000_000)) == TEXT_MAX + 1


class Seen(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in {"href", "src", "action", "xlink:href"}}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def look(text: str) -> Seen:
    seen = Seen()
    seen.feed(text)
    seen.close()
    assert not seen.open
    return seen


def hostile_moments() -> list[Moment]:
    about = {"text": HOSTILE, "digest": HOSTILE, "sequence": 1, "view": 0, "lie": True}
    return [
        Moment(at_ms=1, source=f"client {HOSTILE}", to="replica 0", what="REQUEST", text=HOSTILE),
        *(
            Moment(at_ms=2, source="replica 0", to=to, what=what, **about)  # type: ignore[arg-type]
            for to in ("replica 1", f"replica {HOSTILE}", HOSTILE)
            for what in ("PRE-PREPARE", HOSTILE)
        ),
        Moment(at_ms=3, source="replica 1", what="executes", sequence=1, digest=HOSTILE),
        *(
            Moment(at_ms=4, source=source, what=what, text=HOSTILE)
            for source in ("replica 1", HOSTILE, "")
            for what in ("proves", "breaks", "partition", "crashes", "accepted", "alarm", HOSTILE)
        ),
    ]


def test_a_hostile_outcome_makes_a_page_without_its_markup() -> None:
    made = outcome(
        *hostile_moments(),
        attack=attack(
            name=HOSTILE,
            family=HOSTILE,
            title=HOSTILE,
            story=HOSTILE,
            cast=(Liar(replica=0, strategy=HOSTILE),),
        ),
        world=HOSTILE,
        as_expected=False,
        why_not=HOSTILE,
        breaks=HOSTILE,
        breaks_text=HOSTILE,
        replay=HOSTILE,
        proofs=(Proof(code=HOSTILE, culprit=HOSTILE, held_by=(HOSTILE,)),),
        figures={HOSTILE: HOSTILE},
    )
    plain, index = look(page(outcome(*hostile_moments()))), look(index_page([made]))
    seen = look(page(made))
    for each in (seen, index):
        assert not each.tags & {"script", "img", "b", "iframe", "link", "object"}
        assert not {name for name in each.attributes if name.startswith("on")}
    assert seen.attributes == plain.attributes
    assert index.links == {report_name(made)}


def test_a_page_needs_nothing_but_itself() -> None:
    text = page(outcome(*hostile_moments()))
    assert not look(text).links
    assert "url(http" not in text
    assert "@import" not in text
    assert "default-src &#x27;none&#x27;" in text


@pytest.mark.parametrize("name", ["../../etc/passwd", "/abs", "a b", "", "..", "x" * 500, "\u202e", "a/../b.html"])
def test_file_names_hold_nothing_of_what_an_attack_calls_itself(name: str) -> None:
    made = report_name(outcome(attack=attack(name=name), world=name))
    assert made.endswith("-7.html")
    assert len(made) < 150
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.")
    assert not made.startswith(".")
