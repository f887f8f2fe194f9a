"""The command line against a real group: results, receipts, errors and exit codes."""

from __future__ import annotations

import signal
from pathlib import Path

from clients.identity import write_identity
from crypto.signing import Ed25519Signer
from tests.e2e.processes import objects, quorate, running_group


async def test_the_demo_ends_with_equal_roots_and_a_caught_liar(tmp_path: Path) -> None:
    code, out, err = await quorate("demo", "--json", "--messages", "60", home=tmp_path)
    assert code == 0, err
    summary = objects(out)[-1]
    assert summary["state_roots_equal"] is True
    assert summary["lies_detected"] > 0
    assert summary["messages_accepted"] == summary["messages_followed_in_order"] == 60
    assert (summary["replicas"], summary["f"]) == (4, 1)
    assert summary["replicas_restarted"] == 3
    assert summary["view_changes"] > 0


async def test_the_bench_measures_what_the_loss_of_the_primary_costs(tmp_path: Path) -> None:
    code, _, err = await quorate("init", tmp_path / "group", home=tmp_path)
    assert code == 0, err
    load = ("--clients", 2, "--window", 10, "--seconds", 2)
    code, out, err = await quorate("bench", tmp_path / "group", "--kill-primary", *load, "--json", home=tmp_path)
    assert code == 0, err
    (record,) = objects(out)
    assert (record["killed"], record["lost"], record["executed_twice"]) == (0, 0, 0)
    assert record["view_after"] > record["view_before"] == 0
    assert record["gap_s"] > 0
    assert min(record["accepted_before"], record["accepted_after"]) > 0


async def test_the_bench_kills_no_replica_that_it_did_not_start(tmp_path: Path) -> None:
    async with running_group(tmp_path) as group:
        await group.start(2)
        await group.until(bool)
        code, _, err = await quorate("bench", group.path, "--kill-primary", home=tmp_path)
        assert (code, err.count("\n")) == (2, 1)
        assert "replica 2 runs already" in err


async def test_a_user_from_first_key_to_reading_back(tmp_path: Path) -> None:
    async with running_group(tmp_path) as group:
        await group.start(0, 1, 2, 3)
        await group.until(lambda reports: len(reports) == 4)

        async def run(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
            return await quorate(*arguments, home=tmp_path, group=group.path, stdin=stdin)

        code, _, err = await run("whoami")
        assert (code, "quorate identity new" in err) == (6, True)
        code, out, _ = await run("identity", "new", "--json")
        assert code == 0
        key = objects(out)[0]["public_key"]
        assert (await run("identity", "new"))[0] == 6, "a key is never replaced"
        code, _, err = await run("send", "ubuntu", "hello")
        assert (code, "register" in err) == (4, True)
        assert (await run("register", "alice"))[0] == 0
        code, out, _ = await run("whoami", "--json")
        assert (code, objects(out)[0]["device"]) == (0, key)
        assert (await run("create", "ubuntu", "--topic", "Q and A"))[0] == 0
        code, out, _ = await run("send", "#Ubuntu", "hello world")
        assert code == 0
        assert "#ubuntu 0, ordered at " in out
        assert "vouched for by replicas " in out
        assert "(2 needed)" in out
        code, out, err = await run("send", "ubuntu", "-", "--json", stdin="línea uno\n\nline two\n".encode())
        assert (code, [record["index"] for record in objects(out)], err) == (0, [1, 2], "")
        code, out, _ = await run("history", "ubuntu", "--json")
        assert [record["body"] for record in objects(out)] == ["hello world", "línea uno", "line two"]
        code, out, _ = await run("search", "LÍNEA", "--json")
        assert [record["index"] for record in objects(out)] == [1]
        code, out, _ = await run("tail", "ubuntu", "-n", "1")
        assert out.endswith("#ubuntu 2 <alice> line two\n")
        code, out, _ = await run("rooms", "--json")
        assert [(record["room"], record["topic"]) for record in objects(out)] == [("ubuntu", "Q and A")]
        code, out, _ = await run("members", "ubuntu", "--json")
        assert [record["name"] for record in objects(out)] == ["alice"]
        code, out, _ = await run("status", "--json")
        assert code == 0
        assert {record["state_root"] for record in objects(out)} == {objects(out)[0]["state_root"]}
        code, out, _ = await run("leave", "ubuntu")
        assert code == 0
        code, _, err = await run("send", "ubuntu", "still here?")
        assert (code, err.count("\n")) == (4, 1)


async def test_errors_are_one_line_and_have_their_exit_code(tmp_path: Path) -> None:
    async with running_group(tmp_path) as group:
        await group.start(0, 1, 2, 3)
        await group.until(lambda reports: len(reports) == 4)
        mallory = tmp_path / "mallory.toml"
        write_identity(mallory, Ed25519Signer.generate())

        async def run(*arguments: object, identity: Path | None = None) -> tuple[int, str, str]:
            more = ("--identity", identity) if identity is not None else ()
            return await quorate(*arguments, *more, home=tmp_path, group=group.path)

        await run("identity", "new")
        await run("register", "alice")
        await run("create", "ubuntu")
        cases = [
            (("send", "nosuch", "x"), 4, "room"),
            (("send", "bad room", "x"), 4, "bad room"),
            (("send", "ubuntu", "x" * 4097), 4, "4096"),
            (("send", "ubuntu", "bell \x07"), 4, "U+0007"),
            (("send", "ubuntu", "x", "--reply-to", "7"), 4, "no message 7"),
            (("create", "ubuntu"), 4, "of this name already"),
            (("join", "ubuntu"), 4, "joined this room already"),
            (("register", "bob"), 4, "alice"),
            (("search", '"never closed'), 4, "quot"),
            (("history", "nosuch"), 4, "room"),
            (("tail", "nosuch"), 4, "room"),
        ]
        for arguments, expected, word in cases:
            code, out, err = await run(*arguments)
            assert (code, out) == (expected, ""), (arguments, err)
            assert err.count("\n") == 1, (arguments, err)
            assert word in err, (arguments, err)
        code, _, err = await run("register", "ALICE", identity=mallory)
        assert code == 4
        assert "another account has this name" in err
        for replica in (0, 1, 2):
            await group.end(replica, signal.SIGTERM)
        code, _, err = await run("send", "ubuntu", "anyone?", "--timeout", "1")
        assert (code, err.count("\n")) == (3, 1)
        code, _, err = await run("status")
        assert code == 3
        code, _, err = await quorate("rooms", home=tmp_path, group=tmp_path / "nowhere")
        assert (code, "nowhere" in err, err.count("\n")) == (2, True, 1)
