"""Groups with seeded keys, for tests."""

from adversary.keys import FastSigner, FastVerifier, Members, make_group

__all__ = ["FastSigner", "FastVerifier", "Members", "make_group"]
