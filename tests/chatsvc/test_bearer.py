"""Codes that people read out to each other, and proofs that only the named device can use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsvc.application.bearer import (
    CODE_CHARACTERS_MAX,
    SECRET_BYTES,
    BadCode,
    Purpose,
    check,
    code_of,
    key_of_code,
    prove,
    secret_of,
)
from chatsvc.application.results import ErrorCode
from chatsvc.application.state import Refusal
from crypto.signing import Signature
from tests.chatsvc.fakes import ALICE, BOB

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
coded = st.sampled_from(sorted(SECRET_BYTES, key=lambda purpose: purpose.value))
secrets = coded.flatmap(
    lambda purpose: st.tuples(
        st.just(purpose), st.binary(min_size=SECRET_BYTES[purpose], max_size=SECRET_BYTES[purpose])
    )
)


@pytest.mark.parametrize(
    ("purpose", "secret", "code"),
    [
        (Purpose.DEVICE, bytes(10), "0000-0000-0000-0000-K"),
        (Purpose.LINK, bytes(10), "0000-0000-0000-0000-3"),
        (Purpose.DEVICE, bytes(range(10)), "000G-40R4-0M30-E209-1"),
        (Purpose.RECOVERY, b"\xff" * 16, "ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZWR"),
    ],
)
def test_a_code_is_for_ever_the_same(purpose: Purpose, secret: bytes, code: str) -> None:
    assert code_of(secret, purpose) == code
    assert secret_of(code, purpose) == secret


@given(secrets)
def test_a_code_is_read_back_however_it_is_typed(case: tuple[Purpose, bytes]) -> None:
    purpose, secret = case
    code = code_of(secret, purpose)
    for typed in (code, code.lower(), code.replace("-", ""), code.replace("-", "  "), code.replace("0", "o")):
        assert secret_of(typed, purpose) == secret
    assert secret_of(code.replace("1", "l"), purpose) == secret_of(code.replace("1", "i"), purpose) == secret


@given(secrets, st.data())
def test_one_wrong_character_or_two_exchanged_are_found(case: tuple[Purpose, bytes], data: st.DataObject) -> None:
    purpose, secret = case
    code = code_of(secret, purpose).replace("-", "")
    at = data.draw(st.integers(0, len(code) - 1))
    other = data.draw(st.sampled_from(ALPHABET.replace(code[at], "")))
    with pytest.raises(BadCode):
        secret_of(code[:at] + other + code[at + 1 :], purpose)
    first, second = sorted(data.draw(st.lists(st.integers(0, len(code) - 1), min_size=2, max_size=2, unique=True)))
    exchanged = [*code]
    exchanged[first], exchanged[second] = exchanged[second], exchanged[first]
    if "".join(exchanged) != code:
        with pytest.raises(BadCode):
            secret_of("".join(exchanged), purpose)


@given(secrets)
def test_a_code_for_something_else_is_refused(case: tuple[Purpose, bytes]) -> None:
    purpose, secret = case
    for other in SECRET_BYTES:
        if other is not purpose:
            with pytest.raises(BadCode):
                secret_of(code_of(secret, purpose), other)


@given(st.text(max_size=CODE_CHARACTERS_MAX + 1), coded)
def test_any_text_is_a_code_or_refused(text: str, purpose: Purpose) -> None:
    try:
        secret = secret_of(text, purpose)
    except BadCode:
        return
    assert len(secret) == SECRET_BYTES[purpose]


def test_what_is_wrong_with_a_code_is_said() -> None:
    for text, reason in (
        ("0000-0000-0000-0000", "has 17 characters, not 16"),
        ("U000-0000-0000-0000-K", r"no U\+0055"),
        ("0000-0000-0000-0000-0", "mistyped"),
        ("0" * 65, "too long"),
    ):
        with pytest.raises(BadCode, match=reason):
            secret_of(text, Purpose.DEVICE)
    with pytest.raises(ValueError, match="10 bytes"):
        code_of(b"short", Purpose.DEVICE)


def test_one_secret_has_a_key_for_each_purpose() -> None:
    secret = bytes(10)
    device, link = (key_of_code(code_of(secret, purpose), purpose) for purpose in (Purpose.DEVICE, Purpose.LINK))
    assert device.public_key != link.public_key
    assert key_of_code(code_of(secret, Purpose.LINK), Purpose.LINK).public_key == link.public_key


def test_a_proof_is_for_one_key_one_purpose_and_one_device() -> None:
    holder = key_of_code(code_of(bytes(10), Purpose.LINK), Purpose.LINK)
    stranger = key_of_code(code_of(b"x" * 10, Purpose.LINK), Purpose.LINK)
    proof = prove(holder, Purpose.LINK, ALICE)
    check(holder.public_key, Purpose.LINK, ALICE, proof)
    for key, purpose, device, given_proof in (
        (stranger.public_key, Purpose.LINK, ALICE, proof),
        (holder.public_key, Purpose.DEVICE, ALICE, proof),
        (holder.public_key, Purpose.LINK, BOB, proof),
        (holder.public_key, Purpose.LINK, ALICE, Signature(bytes(64))),
    ):
        with pytest.raises(Refusal) as refusal:
            check(key, purpose, device, given_proof)
        assert refusal.value.rejected.code is ErrorCode.BAD_PROOF
