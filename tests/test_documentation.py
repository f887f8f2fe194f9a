"""Every command, setting and figure is documented, or these tests fail."""

from __future__ import annotations

import importlib
import re
from functools import partial
from importlib.metadata import entry_points
from inspect import Parameter, signature
from pathlib import Path

import pytest
from cyclopts import App

from adversary.behaviours.catalogue import BEHAVIOURS, LAYOUTS
from chatsvc.application.limits import ChatLimits
from clients.console import Common
from clients.front_page import table_path
from clients.main import COMMANDS, add_lazily
from clients.manual import Listed, recorded, render_page, render_table
from pbft.core.group import Parameters
from pbft.node.limits import Limits

ROOT = Path(__file__).parents[1]
BEHAVIOURS_PAGE = (ROOT / "docs" / "behaviours.md").read_text()
OPERATING = (ROOT / "docs" / "operating.md").read_text()
BOUNDS = (ROOT / "docs" / "bounds.md").read_text()


BESIDE_THEIR_COMMANDS = ("simulate",)
"""Their example stands below their options, not in a docstring."""
COMMANDS_PAGE = ROOT / "docs" / "commands.md"
ALL_COMMANDS = recorded()


@pytest.mark.parametrize("command", ALL_COMMANDS.listed, ids=lambda command: command.name)
def test_every_command_has_an_example(command: Listed) -> None:
    if command.function is not None and command.name not in BESIDE_THEIR_COMMANDS:
        assert f"Example: quorate {command.name}" in (command.function.__doc__ or "")


def test_the_manual_says_what_the_commands_say() -> None:
    assert COMMANDS_PAGE.read_text() == render_page(ALL_COMMANDS), "run `python -m clients.manual`"
    for name in Common.__dataclass_fields__:
        assert f"| `--{name}" in COMMANDS_PAGE.read_text()


def test_the_front_page_has_all_commands() -> None:
    assert Path(table_path()).read_text() == render_table(ALL_COMMANDS), "run `python -m clients.manual`"


@pytest.mark.parametrize("field", sorted(Parameters.__dataclass_fields__))
def test_every_parameter_is_documented(field: str) -> None:
    assert f"| `{field}` |" in OPERATING


@pytest.mark.parametrize("field", sorted(ChatLimits.__dataclass_fields__))
def test_every_limit_of_the_chat_is_documented_with_its_default(field: str) -> None:
    assert f"| `{field}` | {getattr(ChatLimits(), field)} |" in OPERATING


@pytest.mark.parametrize("field", sorted(Limits.__dataclass_fields__))
def test_every_limit_is_documented_with_its_default(field: str) -> None:
    assert f"| `{field}` | {getattr(Limits(), field)} |" in OPERATING
    assert f"`{field}`" in BOUNDS


def test_bounds_that_are_documented_exist() -> None:
    named = set(re.findall(r"`(pbft\.[a-z_.]+)\.([A-Z_]+)`", BOUNDS))
    assert len(named) > 30
    missing = {(module, name) for module, name in named if not hasattr(importlib.import_module(module), name)}
    assert not missing


def test_every_field_of_the_report_is_documented() -> None:
    sources = [ROOT / "pbft" / "node" / "node.py", ROOT / "pbft" / "core" / "description.py"]
    source = "".join(path.read_text() for path in sources)
    fields = set(re.findall(r'^ {8,12}"(\w+)": ', source, flags=re.MULTILINE))
    assert len(fields) > 15
    missing = {field for field in fields if f"`{field}`" not in OPERATING}
    assert not missing


def test_help_loads_nothing_heavy() -> None:
    for module in ("clients.commands", "chatsvc.commands"):
        text = (ROOT / (module.replace(".", "/") + ".py")).read_text()
        imports = re.findall(r"^(?:from|import) (\S+)", text, flags=re.MULTILINE)
        assert set(imports) <= {"__future__", "collections.abc", "cyclopts"}


def test_links_between_the_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert target.startswith("http") or (document.parent / target).exists(), (document.name, target)


def test_the_application_can_be_composed() -> None:
    app = App(name="test")
    for point in entry_points(group=COMMANDS):
        point.load()(app, add_lazily)
    assert {"send", "init", "identity"} <= set(app)


@pytest.mark.parametrize("name", sorted((*BEHAVIOURS, *LAYOUTS)))
def test_every_behaviour_is_documented_with_its_options(name: str) -> None:
    rows = [line for line in BEHAVIOURS_PAGE.splitlines() if f"`{name}`" in line]
    assert rows, f"docs/behaviours.md does not name {name}"
    made = (BEHAVIOURS | LAYOUTS)[name]
    options = {
        each.name
        for each in signature(made).parameters.values()
        if each.kind is Parameter.KEYWORD_ONLY and not (isinstance(made, partial) and each.name in made.keywords)
    }
    text = BEHAVIOURS_PAGE if name in LAYOUTS else rows[0]
    assert not {option for option in options if f"`{option}`" not in text}
