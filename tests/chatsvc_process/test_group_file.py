"""The group file: read back as written, or refused in one line that names file, field and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chatsvc.groupfile import GroupFile, GroupFileError, read_group_file, render_group_file
from tests.chatsvc_process.processes import run


def problem_of(path: Path) -> str | None:
    """What is wrong with a group file, in one line; None if nothing is. Any other exception is a defect."""
    try:
        read_group_file(path)
    except GroupFileError as error:
        text = str(error)
        assert len(text.splitlines()) == 1
        assert text.startswith(f"{path}: ")
        return text.removeprefix(f"{path}: ")
    return None


def test_what_was_rendered_is_read_back(founded: GroupFile, tmp_path: Path) -> None:
    text = render_group_file(founded.group, founded.members)
    assert founded.path.read_text() == text
    path = tmp_path / "group.toml"
    path.write_text(text)
    again = read_group_file(path)
    assert (again.group, again.members) == (founded.group, founded.members)
    assert again.group.group_id == founded.group.group_id
    assert read_group_file(tmp_path).path == path, "a directory stands for the file in it"


def test_the_chats_limits_are_read_back_and_make_another_group(founded: GroupFile, tmp_path: Path) -> None:
    limited = replace(founded.group, application=(("edit_minutes", 5), ("pins_per_room", 7)))
    path = tmp_path / "group.toml"
    path.write_text(render_group_file(limited, founded.members))
    assert "\n[chat]\nedit_minutes = 5\npins_per_room = 7\n" in path.read_text()
    again = read_group_file(path).group
    assert again == limited
    assert again.group_id == limited.group_id != founded.group.group_id


def test_a_half_written_group_file_is_told_in_one_line(founded: GroupFile, tmp_path: Path) -> None:
    data = founded.path.read_bytes()
    path = tmp_path / "group.toml"
    for length in range(0, len(data) - 1, 37):
        path.write_bytes(data[:length])
        problem = problem_of(path)
        assert problem is not None, f"cut to {length} bytes"
        assert "copy" in problem, problem


def test_a_group_file_with_a_wrong_byte_is_refused_or_valid_but_never_a_traceback(
    founded: GroupFile, tmp_path: Path
) -> None:
    data = founded.path.read_bytes()
    path = tmp_path / "group.toml"
    refused = 0
    for position in range(0, len(data), 37):
        for wrong in (data[position] ^ 1, 0, 0xFF, ord('"'), ord("\n"), ord("]")):
            path.write_bytes(data[:position] + bytes([wrong]) + data[position + 1 :])
            refused += problem_of(path) is not None
    assert refused > 100


def replacing(pattern: str, text: str) -> Callable[[str], str]:
    def change(file: str) -> str:
        changed, count = re.subn(pattern, lambda _: text, file, count=1, flags=re.MULTILINE)
        assert count == 1
        return changed

    return change


def with_chat(line: str) -> Callable[[str], str]:
    return lambda file: file.replace("[[replicas]]", f"[chat]\n{line}\n\n[[replicas]]", 1)


def swapped(file: str) -> str:
    head, *replicas = file.split("[[replicas]]")
    replicas[0], replicas[1] = replicas[1], replicas[0]
    return "[[replicas]]".join([head, *replicas])


def without_last(file: str) -> str:
    return file[: file.rindex("[[replicas]]")]


def sharing(field: str) -> Callable[[str], str]:
    def change(file: str) -> str:
        values = re.findall(rf'{field} = "([^"]+)"', file)
        return file.replace(values[2], values[0])

    return change


SPOILT: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda _: "", "missing required field"),
    "no TOML": (lambda _: "hello", "is no TOML, or only half of it"),
    "deep": (lambda _: "x = " + "[" * 100_000, "is no TOML"),
    "version": (replacing("^version = 1", "version = 2"), "version: 2, while this program reads version 1"),
    "unknown field": (replacing("^nonce", "colour = 1\nnonce"), "colour"),
    "unknown field over two lines": (replacing("^nonce", '"a\\nb" = 1\nnonce'), "a b"),
    "unknown parameter": (
        replacing("^client_window", "client_windows"),
        "parameters.client_windows: there is no such parameter; remove the line",
    ),
    "parameter is text": (replacing("^client_window = .*", 'client_window = "x"'), "$.parameters[...]"),
    "parameter is zero": (replacing("^client_window = .*", "client_window = 0"), "client_window must be at least 1"),
    "parameter is huge": (replacing("^client_window = .*", f"client_window = {2**70}"), "copy"),
    "unknown limit": (with_chat("operations_per_hour = 1"), "chat: there is no limit operations_per_hour; there are"),
    "limit below its least": (with_chat("pins_per_room = 0"), "chat: pins_per_room is a whole number from 1 to"),
    "limit is huge": (with_chat(f"edit_minutes = {2**70}"), "correct the line in [chat], or remove it"),
    "limit is text": (with_chat('pins_per_room = "x"'), "$.chat[...]"),
    "epoch is huge": (replacing("^epoch = 0", f"epoch = {2**63}"), "epoch"),
    "epoch is negative": (replacing("^epoch = 0", "epoch = -1"), "epoch"),
    "name is empty": (replacing("^name = .*", 'name = ""'), "$.name"),
    "out of order": (swapped, "replicas: their ids must be 0, 1, 2, ... in this order"),
    "too few": (without_last, "at least 4 replicas"),
    "no replicas": (lambda file: file[: file.index("[[replicas]]")], "replicas"),
    "key is no hexadecimal": (replacing('^signing_key = "..', 'signing_key = "xy'), "replica 0: signing_key: 'xy"),
    "key too short": (
        replacing('^signing_key = "..', 'signing_key = "'),
        "replica 0: signing_key: 31 bytes where 32",
    ),
    "same key twice": (sharing("signing_key"), "two replicas of the group have the same signing key"),
    "no port": (replacing("^replica_address = .*", 'replica_address = "foo"'), "'foo' is not HOST:PORT"),
    "no host": (
        replacing("^client_address = .*", 'client_address = ":80"'),
        "client_address: ':80' is not HOST:PORT",
    ),
    "port is zero": (replacing("^client_address = .*", 'client_address = "a:0"'), "'a:0' is not HOST:PORT"),
    "port too large": (replacing("^client_address = .*", 'client_address = "a:65536"'), "'a:65536' is not HOST:PORT"),
    "port in other digits": (replacing("^client_address = .*", 'client_address = "a:٣"'), "is not HOST:PORT"),
    "same address twice": (
        sharing("replica_address"),
        "replica 2: replica_address: the same as the replica_address of replica 0; each needs its own",
    ),
    "same certificate twice": (
        sharing("certificate"),
        "replica 2: certificate: the same as the certificate of replica 0; each needs its own",
    ),
    "certificate is no hexadecimal": (
        replacing('^certificate = "..', 'certificate = "xy'),
        "replica 0: certificate: 'xy",
    ),
    "certificate cut": (
        replacing('^certificate = "[^"]*"', 'certificate = "3082"'),
        "replica 0: certificate: a pinned certificate is not DER",
    ),
    "certificate empty": (replacing('^certificate = "[^"]*"', 'certificate = ""'), "replica 0: certificate"),
    "too long": (lambda file: file + "#" * 2_000_000, "bytes, at most"),
}


@pytest.mark.parametrize("name", sorted(SPOILT))
def test_a_spoilt_group_file_is_told_by_its_field(founded: GroupFile, tmp_path: Path, name: str) -> None:
    change, expected = SPOILT[name]
    path = tmp_path / "group.toml"
    path.write_text(change(founded.path.read_text()))
    problem = problem_of(path)
    assert problem is not None
    assert expected in problem


def test_addresses_may_be_names_and_ipv6(founded: GroupFile, tmp_path: Path) -> None:
    path = tmp_path / "group.toml"
    text = replacing("^replica_address = .*", 'replica_address = "[::1]:9"')(founded.path.read_text())
    path.write_text(replacing("^client_address = .*", 'client_address = "chat.example:65535"')(text))
    member = read_group_file(path).members[0]
    assert (str(member.replica_endpoint), str(member.client_endpoint)) == ("[::1]:9", "chat.example:65535")
    assert (member.replica_endpoint.host, member.replica_endpoint.port) == ("::1", 9)


def test_a_missing_group_file_is_told_with_a_remedy(tmp_path: Path) -> None:
    assert "there is no such file; 'quorate init DIR' makes a new group" in (
        problem_of(tmp_path / "group.toml") or ""
    )
    (tmp_path / "file").write_text("")
    assert "cannot be read: Not a directory" in (problem_of(tmp_path / "file" / "group.toml") or "")


@pytest.mark.parametrize("argument", [["node", "--replica", 0], ["up"]], ids=["node", "up"])
def test_the_commands_tell_it_in_one_line_too(directory: Path, argument: list[object]) -> None:
    path = directory / "group.toml"
    path.write_bytes(path.read_bytes()[:1000])
    name, *options = argument
    finished = run(name, directory, *options)
    assert finished.code == 1
    assert len(finished.errors) == 1
    assert finished.errors[0].startswith(f"quorate: {path}: is no TOML, or only half of it")
