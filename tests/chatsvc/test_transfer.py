"""The chat's state passed on: rows, exactly-once table, and a search that finds the same."""

from __future__ import annotations

from chatsvc.application.queries import ReadHistory, SearchMessages, encode_query
from crypto.signing import PublicKey
from pbft.state.executor import Executor
from tests.chatsvc.transfer_bench import Speaker, chat_state, members
from tests.state.exchange import Exchange, certificate, same

ALICE, BOB = PublicKey(bytes(32)), PublicKey(b"b" * 32)
SEARCHES = ["fox", "fox 7", "in:room1 fox -7", '"lazy dog"', "from:alice 12", "from:bob", "nowhere"]


def assert_same_answers(one: Executor, other: Executor) -> None:
    queries = [SearchMessages(text=text) for text in SEARCHES] + [ReadHistory(room="room1")]
    for query in map(encode_query, queries):
        assert one.query(ALICE, query) == other.query(ALICE, query)


def test_an_empty_replica_answers_as_the_others_do() -> None:
    group = members()
    (holder, _), (fetcher, _) = chat_state(group), chat_state(group)
    speaker = Speaker(holder, "alice", ALICE)
    speaker.post(300)
    speaker.to_checkpoint()
    Exchange({1: holder, 2: holder, 3: holder}, fetcher, certificate(holder, group), members=group).run()
    same(fetcher, holder)
    assert_same_answers(fetcher, holder)


def test_a_replica_with_another_history_forgets_it_in_its_index_too() -> None:
    """It said other things in the same rooms, under the same serials."""
    group = members()
    (holder, _), (fetcher, _) = chat_state(group), chat_state(group)
    speaker = Speaker(holder, "alice", ALICE)
    speaker.post(300)
    speaker.to_checkpoint()
    stranger = Speaker(fetcher, "bob", BOB)
    stranger.post(500, rooms=3)
    Exchange({1: holder, 2: holder, 3: holder}, fetcher, certificate(holder, group), members=group).run()
    same(fetcher, holder)
    assert_same_answers(fetcher, holder)
    connection = fetcher._store.connection
    (indexed,) = connection.execute("SELECT count(*) FROM search_text").fetchone()
    (rows,) = connection.execute("SELECT count(*) FROM rows_messages").fetchone()
    assert indexed == rows
