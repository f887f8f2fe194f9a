"""The pages, and the files that they are written to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adversary.attacks.model import AboveF, Expect
from adversary.attacks.outcome import Moment, Outcome, Proof
from adversary.reports import write_index, write_report
from adversary.reports.page import page
from adversary.reports.words import EVIDENCE, broken, clock, figure
from adversary.simulator.broken import INVARIANTS
from tests.adversary.reports.outcomes import attack, happens, ordered, outcome, said, split
from tests.adversary.reports.test_choosing import storm

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"


def words(text: str) -> str:
    """What a reader sees of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text.split("</style>")[1]))


@pytest.mark.parametrize("code", sorted(EVIDENCE))
def test_every_kind_of_evidence_is_explained(code: str) -> None:
    text = words(page(outcome(proofs=(Proof(code=code, culprit=3, held_by=("replica 1", "client ann")),))))
    what = EVIDENCE[code]
    for said_of_it in (code, what.name, what.held, what.why, "by replica 3", "Held by replica 1 and client ann"):
        assert said_of_it in text


def test_evidence_is_explained_for_every_code_that_there_is() -> None:
    assert {f"E{number}" for number in range(1, 10)} < set(EVIDENCE)


@pytest.mark.parametrize("invariant", sorted(INVARIANTS))
def test_every_invariant_that_breaks_is_explained(invariant: str) -> None:
    made = outcome(safe=False, breaks=invariant, breaks_text="what was seen", as_expected=False)
    text = words(page(made))
    assert broken(invariant) in text
    assert "what was seen" in text


VERDICTS = [
    (outcome(), "The group held"),
    (outcome(as_expected=False, why_not="nobody lied"), "Not as expected"),
    (outcome(above_f=True, safe=False, live=False, breaks="agreement", faulty=(0, 3)), "The group broke, as it must"),
    (outcome(above_f=True, live=False, breaks="progress", faulty=(0, 3)), "People waited in vain, as they must"),
    (outcome(above_f=True, breaks="floor", faulty=(0, 3)), "People waited too long, as they must"),
    (outcome(live=False), "As expected"),
]


@pytest.mark.parametrize(("made", "said_of_it"), VERDICTS, ids=[text for _, text in VERDICTS])
def test_the_verdict_in_words(made: Outcome, said_of_it: str) -> None:
    text = words(page(made))
    assert said_of_it in text
    assert ("nobody lied" in text) == (made.why_not != "")
    assert ("nothing is promised" in text) == made.above_f
    assert ("Now they are two." in text) == made.above_f


def tiles(made: Outcome) -> dict[str, tuple[str, str]]:
    """Of each tile what came, and what was expected."""
    value = r'tile-name">(.*?)</p><p class="tile-value">(.*?)</p>'
    found = re.findall(value + r'.*?tile-expected">Expected: (.*?)</p>', page(made))
    return {name: (came, wanted) for name, came, wanted in found}


FLOOR = AboveF(expect=Expect(breaks=("floor",), wait_ms=2_000))
FORKED = AboveF(expect=Expect(breaks=("agreement", "accepted kept"), culprits=2))


def test_a_broken_floor_is_no_good_life() -> None:
    late = {"above_f": True, "faulty": (0, 3), "breaks": "floor", "breaks_text": "somebody waited 7877 ms"}
    made = outcome(attack=attack(above_f=FLOOR), figures={"longest_wait_ms": 7_877}, **late)
    told = tiles(made)
    assert told["Live"] == ("yes", "yes")
    assert told["Longest wait"] == ("7.88 s", "more than 2 s")
    text = words(page(made))
    assert "accepted in the end. Somebody waited too long for it" in text
    assert "within the time" not in text
    assert "The checker noticed: somebody waited 7877 ms" in text


def test_whoever_must_be_named_is_asked_for() -> None:
    proofs = (
        Proof(code="E1", culprit=0, held_by=("replica 2",)),
        Proof(code="E3", culprit=3, held_by=("forensics",)),
    )
    broken_up = {"above_f": True, "faulty": (0, 3), "safe": False, "live": False, "breaks": "agreement"}
    made = outcome(attack=attack(above_f=FORKED), proofs=proofs, culprits=(0, 3), **broken_up)
    told = tiles(made)
    assert told["Named"] == ("0 and 3", "2 or more of the faulty")
    assert told["Evidence"] == ("E1, E3", "whatever names them")
    assert told["Live"] == ("not asked", "not asked")
    text = words(page(made))
    assert "Found by comparing the ledgers of the correct replicas" in text
    assert "forensics" not in text


def test_what_must_be_come_by_and_how_long_one_may_wait_are_told() -> None:
    expect = Expect(marks=("view change",), wait_ms=900)
    given = attack(expect=expect)
    told = tiles(outcome(attack=given, figures={"longest_wait_ms": 412}))
    assert told["Took place"] == ("yes", "view change")
    assert told["Longest wait"] == ("0.412 s", "at most 0.9 s")
    missed = outcome(attack=given, missed=("view change",), as_expected=False)
    assert tiles(missed)["Took place"] == ("no", "view change")
    assert "It did not come to: view change." in words(page(missed))
    assert "Took place" not in tiles(outcome(attack=given, world="live"))


def test_who_only_fails_at_f_is_told_from_who_lies() -> None:
    text = words(page(outcome(faulty=(0, 3))))
    assert "2 of 4 are faulty. The adversary plays 1 of them, and 1 only fails for a while" in text
    assert "1 of 4 is faulty. A group of 4 bears 1." in words(page(outcome()))


def test_several_are_spoken_of_as_several() -> None:
    moments = [
        *happens(1, "slow", 0, 1),
        *happens(2, "alarm", 2, text="view 5 is given up: it was too slow"),
        Moment(at_ms=3, source="", what="cascade"),
        Moment(at_ms=4, source="", what="breaks", text="floor: too long"),
    ]
    text = words(page(outcome(*moments)))
    for said_of_it in (
        "Replicas 0 and 1 get slow",
        "Replica 2 raises an alarm",
        "replica 2 raises an alarm: view 5 is given up: it was too slow",
        "somebody takes down whoever leads",
        "the checker notices: floor: too long",
    ):
        assert said_of_it in text


def test_a_page_tells_who_did_what_and_how_to_do_it_again() -> None:
    text = words(page(outcome(*split(1), figures={"longest_gap_ms": 1204.5, "view_changes": 2})))
    for part in (
        "Two stories",
        "split primary",
        "a lie: replica 0 sends PRE-PREPARE for place 1 in view 0, batch B to replica 3",
        "replicas 1, 2 and 3 hold proof: E1 against replica 0",
        "Longest gap 1,204.5 ms",
        "quorate attack run split_primary --seed 7",
        "Seed 7, 4 replicas",
    ):
        assert part in text


def test_lies_are_marked_by_colour_dash_and_word() -> None:
    text = page(outcome(*split(1)))
    assert text.count(">LIE</text>") == 1
    assert text.count('class="step t1 lie"') == 1
    assert ".step.lie .wire { stroke: var(--bad); stroke-width: 2.5; stroke-dasharray" in text


def test_who_was_away_is_drawn_and_told() -> None:
    moments = [
        *ordered(1),
        *happens(4, "crashes", 2),
        *(Moment(at_ms=5, source="", what="partition", text="0 1 | 2 3"),),
        *happens(50, "starts", 2),
        *(Moment(at_ms=60, source="", what="heals"),),
    ]
    text = page(outcome(*moments))
    assert "<title>replica 2: down</title>" in text
    for replica, side in ((0, 0), (1, 0), (2, 1), (3, 1)):
        assert f"<title>replica {replica}: side {side}</title>" in text


def test_twins_have_a_column_each() -> None:
    copy = Moment(
        at_ms=1, source="replica 0 (copy)", to="replica 1", what="PREPARE", view=0, sequence=1, digest="bb", lie=True
    )
    assert ">0 (copy)</text>" in page(outcome(*ordered(1), copy))


@pytest.mark.parametrize("replicas", [4, 7, 10, 13])
def test_any_group_fits(replicas: int) -> None:
    moments = storm(2_000, replicas)
    text = page(outcome(*moments, replicas=replicas, faulty=tuple(range(replicas // 3))))
    width = float(re.findall(r'<svg viewBox="0 0 (\d+) ', text)[0])
    assert width <= 1_000
    assert all(f">{number}</span>" in text for number in range(replicas))


def test_a_page_is_small_however_much_happened() -> None:
    assert len(page(outcome(*storm(20_000)))) < 250_000


def test_people_share_a_column_when_they_are_many() -> None:
    moments = [*ordered(1), *(m for n in range(9) for m in said(4, "REPLY", 1, f"user{n}", sequence=1))]
    assert ">people</text>" in page(outcome(*moments))


def test_the_same_outcome_gives_the_same_bytes(tmp_path: Path) -> None:
    made = outcome(*split(1))
    first = write_report(made, tmp_path / "a").read_bytes()
    assert write_report(made, tmp_path / "b").read_bytes() == first
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["split_primary-simulator-7.html"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_report(outcome(), tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("adversary.reports.page", lambda _outcome: "half a page \ud800")
    with pytest.raises(UnicodeEncodeError):
        write_report(outcome(), tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_index_leads_to_every_page(tmp_path: Path) -> None:
    outcomes = [
        outcome(),
        outcome(above_f=True, safe=False, breaks="agreement", faulty=(0, 3)),
        outcome(
            attack=attack(name="odd", title="Odd one", number=0, family="elsewhere"),
            as_expected=False,
            why_not="late",
        ),
        outcome(replicas=7),
        outcome(above_f=True, breaks="floor", faulty=(0, 3), seed=8),
        outcome(world="live"),
    ]
    names = {write_report(made, tmp_path).name for made in outcomes}
    assert len(names) == len(outcomes)
    text = write_index(outcomes, tmp_path).read_text()
    assert set(re.findall(r'href="([^"]*)"', text)) == names
    seen = words(text)
    for part in (
        "5 of 6 runs as expected",
        "broke: floor",
        "broke: agreement",
        "2 of 4 f = 1",
        "Odd one",
        "late",
        "Elsewhere",
    ):
        assert part in seen


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("operations_accepted", 1234, ("Operations accepted", "1,234")),
        ("longest_gap_ms", 12.0, ("Longest gap", "12 ms")),
        ("memory_kib", 2048, ("Memory", "2,048 KiB")),
        ("operations_per_s", 3.25, ("Operations", "3.2 per second")),
        ("trace", "abc", ("Trace", "abc")),
    ],
)
def test_figures_have_words_and_units(name: str, value: float | str, told: tuple[str, str]) -> None:
    assert figure(name, value) == told


def test_times_are_as_exact_as_they_matter() -> None:
    assert [clock(at) for at in (0.4, 1234.56, 12_345.6, 75_000)] == [
        "0.4 ms",
        "1,234.6 ms",
        "12.346 s",
        "1 min 15.0 s",
    ]
