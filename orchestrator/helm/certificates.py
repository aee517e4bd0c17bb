"""Private keys and X.509 certificates as Sprig makes them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.gotime import Time
from orchestrator.helm.printing import to_text
from orchestrator.helm.values import Struct

Certificate: TypeAlias = Struct
Key: TypeAlias = CertificateIssuerPrivateKeyTypes
KEY_TYPES = (
    rsa.RSAPrivateKey,
    dsa.DSAPrivateKey,
    ec.EllipticCurvePrivateKey,
    ed25519.Ed25519PrivateKey,
)
CERTIFICATE_TYPE = "sprig.certificate"


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a certificate, and its validity."""

    name: str
    ips: list[object]
    dns: list[object]
    days: int
    key: Key


def new_key() -> Key:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_key(kind: str) -> str:
    """A new key in PEM."""
    if kind in ("", "rsa"):
        return pem(rsa.generate_private_key(public_exponent=65537, key_size=4096))
    if kind == "dsa":
        return pem(dsa.generate_private_key(key_size=2048))
    if kind == "ecdsa":
        return pem(ec.generate_private_key(ec.SECP256R1()))
    if kind == "ed25519":
        return pem(ed25519.Ed25519PrivateKey.generate())
    return f"Unknown type {kind}"


def pem(key: Key) -> str:
    traditional = isinstance(
        key, rsa.RSAPrivateKey | dsa.DSAPrivateKey | ec.EllipticCurvePrivateKey
    )
    formats = serialization.PrivateFormat
    return key.private_bytes(
        serialization.Encoding.PEM,
        formats.TraditionalOpenSSL if traditional else formats.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def parse_key(text: str) -> Key:
    try:
        key = serialization.load_pem_private_key(text.encode("utf-8", "replace"), None)
    except (ValueError, TypeError) as error:
        raise FunctionError("parsing private key: no key in PEM format") from error
    if not isinstance(
        key,
        rsa.RSAPrivateKey
        | dsa.DSAPrivateKey
        | ec.EllipticCurvePrivateKey
        | ed25519.Ed25519PrivateKey,
    ):
        raise FunctionError("parsing private key: a key of this kind is not supported")
    return key


def authority(now: Time, name: str, days: int, key: Key) -> Certificate:
    subject = Subject(name, [], [], days, key)
    return issued(builder(now, subject, is_authority=True), subject, name_of(name), key)


def self_signed(now: Time, subject: Subject) -> Certificate:
    return issued(builder(now, subject), subject, name_of(subject.name), subject.key)


def signed(now: Time, subject: Subject, ca: Certificate) -> Certificate:
    issuer = parse_certificate(str(ca.fields["Cert"]))
    key = parse_key(str(ca.fields["Key"]))
    return issued(builder(now, subject), subject, issuer.subject, key)


def custom(certificate: str, key: str) -> Certificate:
    """Check two texts, which must be PEM in base64."""
    texts = []
    for text, name in ((certificate, "certificate"), (key, "private key")):
        try:
            texts.append(base64.b64decode(text, validate=True).decode())
        except (binascii.Error, ValueError) as error:
            raise FunctionError(f"unable to decode base64 {name}") from error
    parse_certificate(texts[0])
    parse_key(texts[1])
    return pair(texts[0], texts[1])


def parse_certificate(text: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError as error:
        raise FunctionError("unable to decode certificate") from error


def name_of(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise FunctionError(f"not a common name: {error}") from error


def builder(now: Time, subject: Subject, *, is_authority: bool = False) -> x509.CertificateBuilder:
    start = moment(now.unix_s)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made = (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=subject.days))
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    names = alternative_names(subject)
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return made


def moment(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def alternative_names(subject: Subject) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for name in subject.dns:
        if not isinstance(name, str):
            raise FunctionError(
                f"error processing alternate dns name: {to_text(name)} is not a string"
            )
        names.append(x509.DNSName(name))
    for ip in subject.ips:
        if not isinstance(ip, str):
            raise FunctionError(f"error parsing ip: {to_text(ip)} is not a string")
        try:
            names.append(x509.IPAddress(ip_address(ip)))
        except ValueError as error:
            raise FunctionError(f"error parsing ip: {ip}") from error
    return names


def issued(
    unsigned: x509.CertificateBuilder, subject: Subject, issuer: x509.Name, key: Key
) -> Certificate:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    certificate = (
        unsigned.subject_name(name_of(subject.name))
        .issuer_name(issuer)
        .public_key(subject.key.public_key())
        .sign(key, algorithm)
    )
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return pair(text, pem(subject.key))


def pair(certificate: str, key: str) -> Certificate:
    return Struct(CERTIFICATE_TYPE, {"Cert": certificate, "Key": key})
