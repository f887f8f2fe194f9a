"""Writes what docs/attacks.md takes from the code: the table of all attacks, and the page that it leads to.

python -m tests.adversary.documented
"""

from __future__ import annotations

from pathlib import Path

from adversary.attacks import Outcome, all_attacks, attack_named, run
from adversary.attacks.telling import expected_in_words
from adversary.reports import write_report

DOCS = Path(__file__).parents[2] / "docs"
ATTACKS = DOCS / "attacks.md"
EXAMPLE = DOCS / "examples" / "split_primary-simulator-7.html"
BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"


def table() -> str:
    rows = ["| # | Name | | What happens | At f | Above f |\n", "|---|---|---|---|---|---|\n"]
    for attack in all_attacks():
        above = "" if attack.above_f is None else expected_in_words(attack.above_f.expect)
        live = "L" if attack.live else ""
        at_f = expected_in_words(attack.expect)
        rows.append(f"| {attack.number} | `{attack.name}` | {live} | {attack.title} | {at_f} | {above} |\n")
    return "".join(rows)


def example() -> Outcome:
    return run(attack_named("split_primary"), record=True)


def main() -> None:
    text = ATTACKS.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    ATTACKS.write_text(f"{before}{BEGIN}{table()}{END}{after}")
    assert write_report(example(), EXAMPLE.parent) == EXAMPLE


if __name__ == "__main__":
    main()
