"""Everything that may go wrong in this package, one class for each kind of fault."""

from pathlib import Path


class CryptoError(Exception):
    """Base of every error raised here on purpose, but for wrong arguments (TypeError, ValueError)."""


class MalformedEncoding(CryptoError):  # noqa: N818  # named for the fault, like the next two
    """The bytes are not the canonical encoding of a value, or the value is not of the expected shape."""


class InvalidSignature(CryptoError):  # noqa: N818
    """The signature is not this key's signature over this statement."""


class InvalidProof(CryptoError):  # noqa: N818
    """The Merkle proof does not lead from the leaf to the root."""


class CertificateError(CryptoError):
    """A certificate is unreadable, or the peer's is not the pinned one."""


class KeyFileError(CryptoError):
    """A file of secrets cannot be used. The text names the file, the field and the remedy."""

    def __init__(self, path: Path, field: str, problem: str, *, remedy: str) -> None:
        super().__init__(f"{path}: {field}: {problem}; {remedy}")
        self.path = path
        self.field = field
        self.problem = problem
        self.remedy = remedy
