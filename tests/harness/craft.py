"""Well-formed messages signed by whom a test likes."""

from adversary.craft import Craft, digest

__all__ = ["Craft", "digest"]
