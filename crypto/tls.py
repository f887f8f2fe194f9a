"""Mutual TLS 1.3 between parties that know each other's certificates in advance.

Every certificate is self-signed, names no authority (CA:FALSE) and is its own trust anchor. OpenSSL proves
possession of the private key and checks dates and purposes; who the peer is, `check_pinned` decides by
comparing certificates byte for byte. Host names mean nothing here and are not checked.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

from crypto.errors import CertificateError, KeyFileError
from crypto.files import PRIVATE_MODE, atomic_write, read_private_file

TLS_FILE_NAME = "tls.pem"

CLOCK_SKEW = timedelta(hours=1)
"""A new certificate is valid from this long before its making, for peers whose clocks are behind."""

_TLS_FILE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsIdentity:
    """A certificate and its private key (PKCS 8, PEM, not encrypted; kept out of repr)."""

    certificate_der: bytes
    certificate_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return f"TlsIdentity({fingerprint(self.certificate_der)})"


class TlsPeer(Protocol):
    """What knows the peer's certificate: ssl.SSLObject, ssl.SSLSocket, trio.SSLStream."""

    def getpeercert(self, binary_form: Literal[True], /) -> bytes | None: ...


def make_tls_identity(common_name: str, *, valid_days: int = 3650, now: datetime | None = None) -> TlsIdentity:
    """Make an Ed25519 key and a self-signed certificate for it, for both ends of a connection.

    `now` (with a time zone; the clock if None) is when its `valid_days` begin, less CLOCK_SKEW. Raises
    ValueError for a name that is not ASCII of 1 to 64 characters.
    """
    # Not at the top: only making a certificate, or reading its dates, needs this heavy package; as below.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    begin = datetime.now(UTC) if now is None else now
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - CLOCK_SKEW)
        .not_valid_after(begin + timedelta(days=valid_days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
        .sign(key, algorithm=None)
    )
    return TlsIdentity(
        certificate_der=certificate.public_bytes(serialization.Encoding.DER),
        certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
        key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def write_tls_identity(directory: Path, identity: TlsIdentity, *, overwrite: bool = False) -> Path:
    """Write key and certificate to `directory`/tls.pem, mode 0600, whole or not at all; return its path.

    Raises KeyFileError when the file exists (unless `overwrite`) or cannot be written. Blocks on the disk.
    """
    path = directory / TLS_FILE_NAME
    try:
        atomic_write(path, identity.key_pem + identity.certificate_pem, PRIVATE_MODE, overwrite=overwrite)
    except FileExistsError as error:
        remedy = "keep it, or remove it and give the others the new certificate"
        raise KeyFileError(path, "file", "exists already", remedy=remedy) from error
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise KeyFileError(path, "file", problem, remedy="check the directory and the disk") from error
    return path


def read_tls_certificate(tls_pem: Path) -> bytes:
    """Return the certificate (DER) in a file of `write_tls_identity`. Raises KeyFileError. Blocks."""
    # Not ssl.PEM_cert_to_DER_cert: it skips characters that are not base64, and looks at nothing within.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    data = read_private_file(tls_pem, bytes_max=_TLS_FILE_BYTES_MAX)
    try:
        return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
    except ValueError as error:
        remedy = "restore the file from a copy, or make a new one"
        raise KeyFileError(tls_pem, "certificate", "is missing or damaged", remedy=remedy) from error


def replica_listener_context(tls_pem: Path, pinned: Sequence[bytes]) -> ssl.SSLContext:
    """For accepting replicas: shows `tls_pem`, requires one of the `pinned` certificates (DER) of the peer.

    Like the next three: TLS 1.3 only; call `check_pinned` after the handshake. Raises KeyFileError for the
    file, CertificateError for a pin that is no certificate.
    """
    context = _listener_context(tls_pem)
    context.verify_mode = ssl.CERT_REQUIRED
    _trust_only(context, pinned)
    return context


def replica_dial_context(tls_pem: Path, pinned_der: bytes) -> ssl.SSLContext:
    """For calling a replica as a replica: shows `tls_pem`, requires the certificate `pinned_der`.

    In TLS 1.3 the caller's handshake ends before the listener has judged the caller's certificate: a refusal
    arrives as ssl.SSLError at the first read.
    """
    context = client_dial_context(pinned_der)
    _show(context, tls_pem)
    return context


def client_listener_context(tls_pem: Path) -> ssl.SSLContext:
    """For accepting clients: shows `tls_pem`, asks for no certificate. Clients sign requests instead."""
    return _listener_context(tls_pem)


def client_dial_context(pinned_der: bytes) -> ssl.SSLContext:
    """For calling a replica as a client: shows nothing, requires the certificate `pinned_der`."""
    context = _tls13_context(ssl.PROTOCOL_TLS_CLIENT)
    _trust_only(context, [pinned_der])
    return context


def check_pinned(peer: TlsPeer, pinned: bytes) -> None:
    """Check that the peer's certificate is `pinned` (DER), byte for byte. Raises CertificateError."""
    found = peer_certificate(peer)
    if found != pinned:
        raise CertificateError(
            f"the peer's certificate is {fingerprint(found)}, the pinned one is {fingerprint(pinned)}"
        )


def peer_certificate(peer: TlsPeer) -> bytes:
    """Return the peer's certificate (DER). Raises CertificateError when it has shown none."""
    found = peer.getpeercert(True)  # noqa: FBT003  # ssl's own parameter
    if found is None:
        raise CertificateError("the peer has shown no certificate")
    return found


def fingerprint(der: bytes) -> str:
    """Return the SHA-256 of a certificate as `sha256:` and 64 hexadecimal digits."""
    return f"sha256:{sha256(der).hexdigest()}"


def days_left(der: bytes, now: datetime) -> int:
    """Return the whole days until the certificate expires, negative when it has. `now` has a time zone.

    Raises CertificateError for bytes that are no certificate.
    """
    from cryptography import x509  # noqa: PLC0415

    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise CertificateError(f"no certificate: {error}") from error
    return (certificate.not_valid_after_utc - now) // timedelta(days=1)


def _listener_context(tls_pem: Path) -> ssl.SSLContext:
    context = _tls13_context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # a resumed session would not show its certificate again
    _show(context, tls_pem)
    return context


def _tls13_context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    # PARTIAL_CHAIN: every pinned certificate is an anchor by itself. Without it OpenSSL looks for the issuer by
    # name, finds the first pin of that name, and refuses the others: a replacement beside the old one.
    # Not STRICT (Python 3.13's default contexts set it): it polices authorities, and there is none here.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _show(context: ssl.SSLContext, tls_pem: Path) -> None:
    read_private_file(tls_pem, bytes_max=_TLS_FILE_BYTES_MAX)  # for its checks and its errors
    try:
        # The empty password keeps OpenSSL from asking for one at the terminal.
        context.load_cert_chain(tls_pem, password="")
    except ssl.SSLError as error:
        problem = f"is no key with its certificate ({error.reason or error})"
        remedy = "restore the file from a copy, or make a new one"
        raise KeyFileError(tls_pem, "file", problem, remedy=remedy) from error


def _trust_only(context: ssl.SSLContext, pinned: Sequence[bytes]) -> None:
    if not pinned:
        raise CertificateError("no certificate is pinned: nobody could connect")
    for der in pinned:
        try:
            context.load_verify_locations(cadata=der)
        except (ssl.SSLError, ValueError) as error:
            raise CertificateError(f"a pinned certificate is not DER: {error}") from error
