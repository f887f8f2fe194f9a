"""SHA-256 over one part and over many."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from crypto.digest import DIGEST_BYTES, digest_of, digest_of_parts


def test_digest_is_sha256() -> None:
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of(b"abc").hex() == expected
    assert len(digest_of(b"")) == DIGEST_BYTES


def test_parts_are_preceded_by_their_lengths() -> None:
    expected = sha256(bytes(7) + b"\x03dom" + bytes(7) + b"\x02ab" + bytes(8)).digest()
    assert digest_of_parts(b"dom", b"ab", b"") == expected


@given(st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4))
def test_different_lists_of_parts_have_different_digests(left: list[bytes], right: list[bytes]) -> None:
    assert (digest_of_parts(b"", *left) == digest_of_parts(b"", *right)) == (left == right)


def test_a_byte_moved_between_domain_and_part_changes_the_digest() -> None:
    assert digest_of_parts(b"ab", b"c") != digest_of_parts(b"a", b"bc")
