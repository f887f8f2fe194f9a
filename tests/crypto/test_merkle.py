"""Merkle trees: the published vectors, all small sizes, and every way to tamper with a proof."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.digest import Digest
from crypto.errors import InvalidProof
from crypto.merkle import EMPTY_ROOT, inclusion_proof, leaf_digest, merkle_root, verify_inclusion

SIZES = range(1, 41)


def leaves_of(count: int) -> list[Digest]:
    return [leaf_digest(b"leaf %d" % index) for index in range(count)]


def root_by_definition(leaves: Sequence[Digest]) -> Digest:
    """RFC 6962 section 2.1, word for word: recursive, split at the largest power of two below the count."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = root_by_definition(leaves[:split]), root_by_definition(leaves[split:])
    return Digest(sha256(b"\x01" + left + right).digest())


# Certificate Transparency's test vectors: the leaves and the root over the first 1, 2, ... of them.
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("count", range(1, 9))
def test_roots_of_certificate_transparency(count: int) -> None:
    leaves = [leaf_digest(bytes.fromhex(data)) for data in CT_LEAVES[:count]]
    assert merkle_root(leaves).hex() == CT_ROOTS[count - 1]


def test_empty_tree() -> None:
    assert merkle_root([]) == EMPTY_ROOT == sha256(b"").digest()


@pytest.mark.parametrize("count", SIZES)
def test_root_is_rfc_6962s(count: int) -> None:
    assert merkle_root(leaves_of(count)) == root_by_definition(leaves_of(count))


@pytest.mark.parametrize("count", SIZES)
def test_every_leaf_has_a_proof(count: int) -> None:
    leaves = leaves_of(count)
    root = merkle_root(leaves)
    for index, leaf in enumerate(leaves):
        proof = inclusion_proof(leaves, index)
        verify_inclusion(root=root, leaf=leaf, index=index, count=count, proof=proof)


@pytest.mark.parametrize("count", SIZES)
def test_tampered_proofs_are_refused(count: int) -> None:
    leaves = leaves_of(count)
    root = merkle_root(leaves)
    for index, leaf in enumerate(leaves):
        proof = inclusion_proof(leaves, index)
        other = leaf_digest(b"other")
        forged = [
            *((*proof[:at], other, *proof[at + 1 :]) for at in range(len(proof))),
            *(proof[:at] + proof[at + 1 :] for at in range(len(proof))),
            (*proof, other),
        ]
        for bad in forged:
            with pytest.raises(InvalidProof):
                verify_inclusion(root=root, leaf=leaf, index=index, count=count, proof=bad)
        with pytest.raises(InvalidProof):
            verify_inclusion(root=root, leaf=other, index=index, count=count, proof=proof)
        with pytest.raises(InvalidProof):
            verify_inclusion(root=other, leaf=leaf, index=index, count=count, proof=proof)
        for wrong_index in set(range(count)) - {index}:
            with pytest.raises(InvalidProof):
                verify_inclusion(root=root, leaf=leaf, index=wrong_index, count=count, proof=proof)


def test_a_proof_is_refused_under_every_count_that_gives_another_path() -> None:
    leaves = leaves_of(7)
    proof = inclusion_proof(leaves, 6)
    for count in (1, 2, 6, 8, 9, 2**64):
        with pytest.raises(InvalidProof):
            verify_inclusion(root=merkle_root(leaves), leaf=leaves[6], index=6, count=count, proof=proof)


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (3, 3), (0, 0), (0, -1), (2**70, 3)])
def test_impossible_places_are_refused(index: int, count: int) -> None:
    leaf = leaf_digest(b"")
    with pytest.raises(InvalidProof, match="is not among"):
        verify_inclusion(root=leaf, leaf=leaf, index=index, count=count, proof=())


def test_digests_of_another_length_are_refused() -> None:
    leaves = leaves_of(2)
    root = merkle_root(leaves)
    short = Digest(leaves[1][:31])
    # A 64-byte "leaf" made of two halves must not pass for an inner node, nor a short sibling for a whole one.
    for leaf, proof in ((leaves[0], [short]), (Digest(leaves[0] + leaves[1]), [])):
        with pytest.raises(InvalidProof, match="32 bytes"):
            verify_inclusion(root=root, leaf=leaf, index=0, count=1 + len(proof), proof=proof)


def test_an_inner_node_is_no_leaf() -> None:
    leaves = leaves_of(4)
    inner = merkle_root(leaves[:2])
    proof = [merkle_root(leaves[2:])]
    with pytest.raises(InvalidProof):
        verify_inclusion(root=merkle_root(leaves), leaf=inner, index=0, count=4, proof=proof)
    assert leaf_digest(leaves[0] + leaves[1]) != inner


@pytest.mark.parametrize("index", [-1, 3])
def test_no_proof_for_a_leaf_that_is_not_there(index: int) -> None:
    with pytest.raises(IndexError):
        inclusion_proof(leaves_of(3), index)


@given(st.integers(), st.integers(), st.lists(st.binary(min_size=31, max_size=33), max_size=70))
def test_verification_is_total(index: int, count: int, proof: list[bytes]) -> None:
    leaf = leaf_digest(b"x")
    with pytest.raises(InvalidProof):
        verify_inclusion(
            root=EMPTY_ROOT, leaf=leaf, index=index, count=count, proof=[Digest(sibling) for sibling in proof]
        )
