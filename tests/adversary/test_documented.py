"""docs/attacks.md and its example are what the code says today."""

from __future__ import annotations

import re

from adversary.attacks import all_attacks
from adversary.reports.document import document
from adversary.reports.page import page
from tests.adversary.documented import ATTACKS, BEGIN, END, EXAMPLE, example, table

AGAIN = "out of date: python -m tests.adversary.documented"


def test_the_table_of_attacks_is_up_to_date() -> None:
    _, _, rest = ATTACKS.read_text().partition(BEGIN)
    assert rest.partition(END)[0] == table(), AGAIN


def test_every_family_is_explained() -> None:
    text = ATTACKS.read_text()
    for family in {attack.family for attack in all_attacks()}:
        assert f"**{family}.**" in text


def test_the_example_was_made_by_the_code_as_it_is() -> None:
    """Not byte by byte: when a message more is sent somewhere, the old picture is still a good one."""
    stored, outcome = EXAMPLE.read_text(), example()
    assert outcome.as_expected
    head, _, _ = document("", None).partition("<title>")
    assert stored.startswith(head), AGAIN
    made = page(outcome)
    for pattern in (
        r"<style>.*?</style>",
        r"<h1>.*?</h1>",
        r'<p class="story">.*?</p>',
        r"<h2.*?</h2>",
        r"<pre.*?</pre>",
    ):
        assert re.findall(pattern, stored, re.DOTALL) == re.findall(pattern, made, re.DOTALL), AGAIN
    assert ">LIE</text>" in stored
