"""What happens in rooms, as short lines."""

from __future__ import annotations

from chatsvc.application.events import Content, EventKind, Head, NoticeHead, NoticeKind
from clients import times

_SIMPLE = {
    EventKind.DELETED: "deleted {index}",
    EventKind.PINNED: "pinned {index}",
    EventKind.UNPINNED: "unpinned {index}",
    EventKind.JOINED: "joined",
    EventKind.LEFT: "left",
}
_NAMED = {
    EventKind.INVITED: "invited {}",
    EventKind.KICKED: "put {} out",
    EventKind.BANNED: "banned {}",
    EventKind.UNBANNED: "unbanned {}",
    EventKind.TOPIC: "set the topic: {}",
    EventKind.DESCRIPTION: "described the room: {}",
}
_NOTICES = {
    NoticeKind.MENTION: "{by} mentioned you in {where}",
    NoticeKind.REPLY: "{by} replied to you in {where}",
    NoticeKind.DIRECT: "{by} wrote to you in {where}",
    NoticeKind.INVITATION: "{by} invited you to {where}",
}


def event_words(head: Head, content: Content | None, *, utc: bool) -> str:
    """What happened, after the name of who did it; not for messages. Total: also for data of an unknown form."""
    index = "" if head.index is None else str(head.index)
    match head.kind, head.data:
        case (EventKind.EDITED, _):
            return f"edited {index}: {'(deleted since)' if content is None else content.body}"
        case (EventKind.REACTED, [reaction, count]):
            return f"reacted to {index} with {reaction} ({count})"
        case (EventKind.UNREACTED, [reaction, count]):
            return f"took {reaction} back from {index} ({count})"
        case (EventKind.VOTED, votes):
            return f"there was a vote on {index}: {_votes(votes)}"
        case (EventKind.POLL_CLOSED, votes):
            return f"closed the poll {index}: {_votes(votes)}"
        case (kind, [what, *more]) if kind in _NAMED:
            said = _NAMED[kind].format(what)
            return f"{said}: {more[0]}" if more and more[0] else said
        case (kind, _) if kind in _SIMPLE:
            return _SIMPLE[kind].format(index=index)
        case _:
            return _setting_words(head, utc=utc)


def _setting_words(head: Head, *, utc: bool) -> str:
    match head.kind, head.data:
        case (EventKind.MUTED, [name, int(until_ms)]):
            return f"let {name} only read until {times.minute(until_ms, utc=utc)}" if until_ms else f"unmuted {name}"
        case (EventKind.ROLE, [name, role]):
            return f"made {name} {role}"
        case (EventKind.SLOW_MODE, [int(seconds)]):
            return f"set one message in {times.in_words(seconds * 1000)}" if seconds else "ended the slow mode"
        case (EventKind.RETENTION, [int(seconds)]):
            return f"keeps messages {f'for {times.in_words(seconds * 1000)}' if seconds else 'for ever'}"
        case (EventKind.ARCHIVED, [archived]):
            return "archived the room" if archived else "opened the room again"
        case (kind, data):
            return " ".join([kind.value, *map(str, data)])


def _votes(votes: list[str | int]) -> str:
    return " : ".join(map(str, votes))


def notice_words(notice: NoticeHead, where: str) -> str:
    """`where`: the room, as people write it."""
    at = where if notice.index is None else f"{where} {notice.index}"
    return _NOTICES[notice.kind].format(by=notice.by, where=at)
