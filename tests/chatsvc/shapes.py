"""Hypothesis strategies out of the definitions of what travels: every field takes all that its type allows."""

from __future__ import annotations

from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from msgspec import Meta

from chatsvc.application.operations import Operation
from chatsvc.application.queries import Query, ReadHistory
from chatsvc.application.wire import Wire

W = TypeVar("W")

ROWS_DRAWN_MAX = 3
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {NoneType: st.none(), str: texts, bool: st.booleans()}


def structures(union: Any) -> st.SearchStrategy[Any]:
    """Any member of a union of structures."""
    return st.one_of([structure(kind) for kind in get_args(union)])


def structure(kind: type[W]) -> st.SearchStrategy[W]:
    hints = get_type_hints(kind, include_extras=True)
    fields: tuple[str, ...] = kind.__struct_fields__  # type: ignore[attr-defined]  # of every msgspec structure
    return st.builds(kind, **{name: values(hints[name]) for name in fields})


def values(hint: Any, meta: Meta | None = None) -> st.SearchStrategy[Any]:
    """What a field of this type holds."""
    if isinstance(hint, NewType):
        return values(hint.__supertype__, meta)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return values(arguments[0], arguments[1])
    if origin in (Union, UnionType):
        return st.one_of([values(argument) for argument in arguments])
    if origin is tuple and arguments[-1] is not Ellipsis:
        return st.tuples(*[values(argument) for argument in arguments])
    if origin in (tuple, list):
        made = st.lists(values(arguments[0]), min_size=_least(meta), max_size=_most(meta, ROWS_DRAWN_MAX))
        return made.map(origin)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint is bytes:
        return st.binary(min_size=_least(meta), max_size=_most(meta, 40))
    if hint is int:
        return _integers(meta)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    if issubclass(hint, Wire):
        return structure(hint)
    raise TypeError(hint)


def _integers(meta: Meta | None) -> st.SearchStrategy[int]:
    if meta is None:
        return st.integers(0, 2**63 - 1)
    return st.integers(int(meta.ge or 0), int(meta.le or 0) if meta.lt is None else int(meta.lt) - 1)


def _least(meta: Meta | None) -> int:
    return 0 if meta is None else meta.min_length or 0


def _most(meta: Meta | None, otherwise: int) -> int:
    return otherwise if meta is None else meta.max_length or otherwise


def _is_asked(query: Query) -> bool:
    return not isinstance(query, ReadHistory) or query.before is None or query.after is None


operations: st.SearchStrategy[Operation] = structures(Operation)
queries: st.SearchStrategy[Query] = structures(Query).filter(_is_asked)
