"""Handshakes in memory between all who should and should not be let in."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.errors import CertificateError, KeyFileError
from crypto.tls import (
    TlsIdentity,
    check_pinned,
    client_dial_context,
    client_listener_context,
    fingerprint,
    make_tls_identity,
    peer_certificate,
    replica_dial_context,
    replica_listener_context,
    write_tls_identity,
)


@dataclass(frozen=True)
class Party:
    """A replica: its certificate (DER) and the file with its key."""

    certificate: bytes
    tls_pem: Path
    identity: TlsIdentity


def party_of(directory: Path, identity: TlsIdentity) -> Party:
    directory.mkdir()
    return Party(identity.certificate_der, write_tls_identity(directory, identity), identity)


@pytest.fixture
def alice(tmp_path: Path) -> Party:
    return party_of(tmp_path / "alice", make_tls_identity("alice"))


@pytest.fixture
def bob(tmp_path: Path) -> Party:
    return party_of(tmp_path / "bob", make_tls_identity("bob"))


@pytest.fixture
def carol(tmp_path: Path) -> Party:
    return party_of(tmp_path / "carol", make_tls_identity("carol"))


class Connection:
    """Two ends joined in memory. `dialer` and `listener` are the TLS objects."""

    def __init__(self, dial: ssl.SSLContext, listen: ssl.SSLContext) -> None:
        to_listener, to_dialer = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.dialer = dial.wrap_bio(to_dialer, to_listener, server_side=False)
        self.listener = listen.wrap_bio(to_listener, to_dialer, server_side=True)

    def shake_hands(self) -> None:
        """Carry both handshakes to their end. Raises the ssl.SSLError of the end that refuses first."""
        pending = [self.dialer, self.listener]
        for _ in range(10):
            for end in list(pending):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                pending.remove(end)
        assert not pending


def connect(dial: ssl.SSLContext, listen: ssl.SSLContext) -> Connection:
    connection = Connection(dial, listen)
    connection.shake_hands()
    return connection


def issued_by(issuer: Party, common_name: str, *, authority: bool = False) -> TlsIdentity:
    """Return a certificate for `common_name` signed with the key of `issuer`."""
    issuer_certificate = x509.load_der_x509_certificate(issuer.certificate)
    issuer_key = serialization.load_pem_private_key(issuer.identity.key_pem, None)
    assert isinstance(issuer_key, Ed25519PrivateKey)
    return signed_by(issuer_certificate.subject, issuer_key, common_name, authority=authority)


def self_signed_authority(common_name: str) -> TlsIdentity:
    return signed_by(None, Ed25519PrivateKey.generate(), common_name, authority=True)


def signed_by(
    issuer: x509.Name | None, issuer_key: Ed25519PrivateKey, common_name: str, *, authority: bool
) -> TlsIdentity:
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name)])
    key = issuer_key if issuer is None else Ed25519PrivateKey.generate()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(issuer_key, algorithm=None)
    )
    return TlsIdentity(
        certificate_der=certificate.public_bytes(serialization.Encoding.DER),
        certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
        key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def test_replicas_with_the_right_pins_connect(alice: Party, bob: Party, carol: Party) -> None:
    connection = connect(
        replica_dial_context(alice.tls_pem, bob.certificate),
        replica_listener_context(bob.tls_pem, [carol.certificate, alice.certificate]),
    )
    assert connection.dialer.version() == connection.listener.version() == "TLSv1.3"
    check_pinned(connection.dialer, bob.certificate)
    check_pinned(connection.listener, alice.certificate)
    assert peer_certificate(connection.listener) == alice.certificate


def test_a_client_connects_without_certificate(bob: Party) -> None:
    connection = connect(client_dial_context(bob.certificate), client_listener_context(bob.tls_pem))
    check_pinned(connection.dialer, bob.certificate)
    with pytest.raises(CertificateError, match="shown no certificate"):
        peer_certificate(connection.listener)


def test_no_session_is_given_out(alice: Party, bob: Party) -> None:
    connection = connect(
        replica_dial_context(alice.tls_pem, bob.certificate),
        replica_listener_context(bob.tls_pem, [alice.certificate]),
    )
    connection.listener.write(b"x")
    assert connection.dialer.read() == b"x"  # a ticket would have come before
    assert connection.dialer.session is not None
    assert not connection.dialer.session.has_ticket


def test_dialer_refuses_another_member(alice: Party, bob: Party, carol: Party) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(
            replica_dial_context(alice.tls_pem, carol.certificate),
            replica_listener_context(bob.tls_pem, [alice.certificate]),
        )


def test_same_name_on_another_certificate_is_refused(tmp_path: Path, alice: Party, bob: Party) -> None:
    false_alice = party_of(tmp_path / "false-alice", make_tls_identity("alice"))
    false_bob = party_of(tmp_path / "false-bob", make_tls_identity("bob"))
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(
            replica_dial_context(false_alice.tls_pem, bob.certificate),
            replica_listener_context(bob.tls_pem, [alice.certificate]),
        )
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(client_dial_context(bob.certificate), client_listener_context(false_bob.tls_pem))


def test_two_members_of_one_name_are_told_apart(tmp_path: Path, alice: Party, bob: Party) -> None:
    namesake = party_of(tmp_path / "namesake", make_tls_identity("alice"))
    listen = replica_listener_context(bob.tls_pem, [alice.certificate, namesake.certificate])
    for member, other in ((alice, namesake), (namesake, alice)):
        connection = connect(replica_dial_context(member.tls_pem, bob.certificate), listen)
        check_pinned(connection.listener, member.certificate)
        with pytest.raises(CertificateError):
            check_pinned(connection.listener, other.certificate)


@pytest.mark.parametrize("authority", [False, True])
def test_a_member_cannot_mint_another(tmp_path: Path, alice: Party, bob: Party, authority: bool) -> None:
    minted = issued_by(alice, "carol", authority=authority)
    chain = TlsIdentity(
        certificate_der=minted.certificate_der,
        certificate_pem=minted.certificate_pem + alice.identity.certificate_pem,
        key_pem=minted.key_pem,
    )
    for number, identity in enumerate((minted, chain)):
        false_carol = party_of(tmp_path / f"carol-{number}", identity)
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(
                replica_dial_context(false_carol.tls_pem, bob.certificate),
                replica_listener_context(bob.tls_pem, [alice.certificate]),
            )
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(client_dial_context(alice.certificate), client_listener_context(false_carol.tls_pem))


def test_comparison_refuses_what_a_pinned_authority_has_minted(tmp_path: Path, bob: Party) -> None:
    # Pinning a CA:TRUE certificate lets OpenSSL accept what it signs; the byte comparison does not.
    mallory = party_of(tmp_path / "mallory", self_signed_authority("mallory"))
    false_carol = party_of(tmp_path / "carol", issued_by(mallory, "carol"))
    connection = connect(
        replica_dial_context(false_carol.tls_pem, bob.certificate),
        replica_listener_context(bob.tls_pem, [mallory.certificate]),
    )
    with pytest.raises(CertificateError) as caught:
        check_pinned(connection.listener, mallory.certificate)
    assert fingerprint(mallory.certificate) in str(caught.value)
    assert fingerprint(false_carol.certificate) in str(caught.value)


def test_a_stolen_certificate_without_its_key_is_useless(tmp_path: Path, alice: Party, bob: Party) -> None:
    stolen = TlsIdentity(
        certificate_der=alice.certificate,
        certificate_pem=alice.identity.certificate_pem,
        key_pem=bob.identity.key_pem,
    )
    with pytest.raises(KeyFileError, match="is no key with its certificate"):
        client_listener_context(party_of(tmp_path / "thief", stolen).tls_pem)


def test_replica_without_certificate_is_refused(alice: Party, bob: Party) -> None:
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        connect(client_dial_context(bob.certificate), replica_listener_context(bob.tls_pem, [alice.certificate]))


def test_the_dialer_learns_of_its_refusal_at_the_first_read(alice: Party, bob: Party, carol: Party) -> None:
    connection = Connection(
        replica_dial_context(alice.tls_pem, bob.certificate),
        replica_listener_context(bob.tls_pem, [carol.certificate]),
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        connection.shake_hands()
    connection.dialer.do_handshake()  # complete all the same
    with pytest.raises(ssl.SSLError, match="ALERT"):
        connection.dialer.read()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_2:DeprecationWarning")
def test_tls_1_2_is_refused_by_both_ends(alice: Party, bob: Party) -> None:
    def old(context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    new_dial = replica_dial_context(alice.tls_pem, bob.certificate)
    new_listen = replica_listener_context(bob.tls_pem, [alice.certificate])
    old_dial = old(replica_dial_context(alice.tls_pem, bob.certificate))
    old_listen = old(replica_listener_context(bob.tls_pem, [alice.certificate]))
    connect(old_dial, old_listen)  # the old ends are able to
    for dial, listen in ((old_dial, new_listen), (new_dial, old_listen)):
        with pytest.raises(ssl.SSLError, match=r"UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION"):
            connect(dial, listen)


@pytest.mark.parametrize("made", [timedelta(days=-3), timedelta(days=3)], ids=["expired", "not yet valid"])
def test_dates_are_checked(tmp_path: Path, bob: Party, made: timedelta) -> None:
    now = datetime.now(UTC)
    late = party_of(tmp_path / "late", make_tls_identity("late", valid_days=1, now=now + made))
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(
            replica_dial_context(late.tls_pem, bob.certificate),
            replica_listener_context(bob.tls_pem, [late.certificate]),
        )
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(client_dial_context(late.certificate), client_listener_context(late.tls_pem))


@pytest.mark.parametrize("pin", [b"", b"junk", b"\x30\x82\x01\x00"])
def test_pins_that_are_no_certificates(bob: Party, pin: bytes) -> None:
    with pytest.raises(CertificateError, match="not DER"):
        client_dial_context(pin)
    with pytest.raises(CertificateError, match="not DER"):
        replica_listener_context(bob.tls_pem, [bob.certificate, pin])


def test_no_pins_at_all(bob: Party) -> None:
    with pytest.raises(CertificateError, match="nobody could connect"):
        replica_listener_context(bob.tls_pem, [])


def test_contexts_trust_nothing_else(bob: Party) -> None:
    for context in (
        replica_listener_context(bob.tls_pem, [bob.certificate]),
        client_dial_context(bob.certificate),
    ):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.cert_store_stats()["x509"] == 1
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_certificates_satisfy_the_strict_rules_too(bob: Party) -> None:
    # Python 3.13's default contexts are strict; other programs with these pins may be.
    dial = client_dial_context(bob.certificate)
    dial.verify_flags |= ssl.VERIFY_X509_STRICT
    connect(dial, client_listener_context(bob.tls_pem))
