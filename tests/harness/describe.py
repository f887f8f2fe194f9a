"""Messages and effects as one line of text each."""

from adversary.describe import Describe

__all__ = ["Describe"]
