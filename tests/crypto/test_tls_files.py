"""Certificates as they are made, written and read."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from crypto.errors import CertificateError, KeyFileError
from crypto.tls import (
    client_listener_context,
    days_left,
    fingerprint,
    make_tls_identity,
    read_tls_certificate,
    write_tls_identity,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_validity_begins_early_for_peers_whose_clocks_are_behind() -> None:
    before = datetime.now(UTC)
    begins = x509.load_der_x509_certificate(make_tls_identity("r").certificate_der).not_valid_before_utc
    assert begins < before - timedelta(minutes=59)


def test_certificate_is_no_authority_and_serves_both_ends() -> None:
    identity = make_tls_identity("replica-2.example", valid_days=10, now=NOW)
    extensions = x509.load_der_x509_certificate(identity.certificate_der).extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["replica-2.example"]
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {
        x509.oid.ExtendedKeyUsageOID.SERVER_AUTH,
        x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH,
    }


@pytest.mark.parametrize("name", ["", "x" * 65, "\u00e9"])
def test_impossible_names(name: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        make_tls_identity(name)


def test_days_left() -> None:
    der = make_tls_identity("r", valid_days=10, now=NOW).certificate_der
    assert days_left(der, NOW) == 10
    assert days_left(der, NOW + timedelta(hours=1)) == 9
    assert days_left(der, NOW + timedelta(days=10)) == 0
    assert days_left(der, NOW + timedelta(days=10, seconds=1)) == -1
    with pytest.raises(CertificateError, match="no certificate"):
        days_left(b"junk", NOW)


def test_file_is_private_and_holds_the_certificate(tmp_path: Path) -> None:
    identity = make_tls_identity("r")
    path = write_tls_identity(tmp_path, identity)
    assert path == tmp_path / "tls.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_tls_certificate(path) == identity.certificate_der
    assert identity.key_pem.decode() not in repr(identity)
    assert fingerprint(identity.certificate_der) in repr(identity)


def test_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    old, new = make_tls_identity("r"), make_tls_identity("r")
    path = write_tls_identity(tmp_path, old)
    with pytest.raises(KeyFileError, match="exists already"):
        write_tls_identity(tmp_path, new)
    assert read_tls_certificate(path) == old.certificate_der
    write_tls_identity(tmp_path, new, overwrite=True)
    assert read_tls_certificate(path) == new.certificate_der


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be written"):
        write_tls_identity(tmp_path / "absent", make_tls_identity("r"))


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"junk",
        b"\xff" * 100,
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ],
)
def test_damaged_files_are_named(tmp_path: Path, damage: bytes) -> None:
    path = write_tls_identity(tmp_path, make_tls_identity("r"))
    path.write_bytes(damage)
    with pytest.raises(KeyFileError, match="certificate: is missing or damaged"):
        read_tls_certificate(path)
    with pytest.raises(KeyFileError, match=r"tls\.pem: file: is no key with its certificate"):
        client_listener_context(path)


def test_encrypted_key_is_refused_without_asking(tmp_path: Path) -> None:
    identity = make_tls_identity("r")
    key = serialization.load_pem_private_key(identity.key_pem, None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    path = write_tls_identity(tmp_path, identity)
    path.write_bytes(encrypted + identity.certificate_pem)
    with pytest.raises(KeyFileError):
        client_listener_context(path)


def test_exposed_file_is_refused(tmp_path: Path) -> None:
    path = write_tls_identity(tmp_path, make_tls_identity("r"))
    path.chmod(0o640)
    for use in (client_listener_context, read_tls_certificate):
        with pytest.raises(KeyFileError, match="permissions"):
            use(path)


def test_the_heavy_package_is_loaded_only_to_make_certificates() -> None:
    code = "import sys, crypto.tls, crypto.keyfiles; assert 'cryptography' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
