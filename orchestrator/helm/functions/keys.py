"""Sprig's password hashes, ciphers, private keys and certificates, made by `cryptography`.

They are slow or use much memory, so each counts as many steps.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.signature import Function
from orchestrator.helm.values import Struct, from_bytes, to_bytes

if TYPE_CHECKING:
    from orchestrator.helm.certificates import Certificate
    from orchestrator.helm.interpreter import Run
    from orchestrator.helm.values import Uint32

GoList = list[object]

HASH_STEPS = 20_000
KEY_STEPS = 100_000
BLOCK = 16
SEED = b"com.lyndir.masterpassword"
TEMPLATES = {
    "maximum": "anoxxxxxxxxxxxxxxxxx axxxxxxxxxxxxxxxxxno",
    "long": "CvcvnoCvcvCvcv CvcvCvcvnoCvcv CvcvCvcvCvcvno CvccnoCvcvCvcv CvccCvcvnoCvcv "
    "CvccCvcvCvcvno CvcvnoCvccCvcv CvcvCvccnoCvcv CvcvCvccCvcvno CvcvnoCvcvCvcc "
    "CvcvCvcvnoCvcc CvcvCvcvCvccno CvccnoCvccCvcv CvccCvccnoCvcv CvccCvccCvcvno "
    "CvcvnoCvccCvcc CvcvCvccnoCvcc CvcvCvccCvccno CvccnoCvcvCvcc CvccCvcvnoCvcc "
    "CvccCvcvCvccno",
    "medium": "CvcnoCvc CvcCvcno",
    "short": "Cvcn",
    "basic": "aaanaaan aannaaan aaannaaa",
    "pin": "nnnn",
}
VOWELS, CONSONANTS, DIGITS = "AEIOU", "BCDFGHJKLMNPQRSTVWXYZ", "0123456789"
LETTERS = VOWELS + VOWELS.lower() + CONSONANTS + CONSONANTS.lower()
CHARACTERS = {
    "V": VOWELS,
    "C": CONSONANTS,
    "v": VOWELS.lower(),
    "c": CONSONANTS.lower(),
    "A": VOWELS + CONSONANTS,
    "a": LETTERS,
    "n": DIGITS,
    "o": "@&%?,=[]_:-+*$#!'^~;()/.",
    "x": LETTERS + DIGITS + "!@#$%^&*()",
}


def bcrypt(run: Run, text: str) -> str:
    import bcrypt as library

    run.budget.step(HASH_STEPS)
    data = to_bytes(text)
    if len(data) > 72:
        return "failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes"
    return library.hashpw(data, library.gensalt(10, b"2a")).decode()


def htpasswd(run: Run, user: str, password: str) -> str:
    if ":" in user:
        return f"invalid username: {user}"
    return f"{user}:{bcrypt(run, password)}"


def derive_password(
    run: Run, counter: Uint32, kind: str, password: str, user: str, site: str
) -> str:
    """The password of the Master Password algorithm."""
    templates = TEMPLATES.get(kind, "").split()
    if not templates:
        return f"cannot find password template {kind}"
    import hashlib
    import hmac

    run.budget.step(HASH_STEPS)
    salt = SEED + sized(user)
    key = hashlib.scrypt(to_bytes(password), salt=salt, n=32768, r=8, p=2, maxmem=2**27, dklen=64)
    message = SEED + sized(site) + int(counter).to_bytes(4, "big")
    seed = hmac.new(key, message, "sha256").digest()
    template = templates[seed[0] % len(templates)]
    sets = (CHARACTERS[letter] for letter in template)
    return "".join(chars[byte % len(chars)] for chars, byte in zip(sets, seed[1:], strict=False))


def sized(text: str) -> bytes:
    data = to_bytes(text)
    return len(data).to_bytes(4, "big") + data


def encrypt_aes(password: str, text: str) -> str:
    """AES-256 in CBC mode, with the password, padded with zeros, as key."""
    import secrets

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    if not text:
        return ""
    data, start = to_bytes(text), secrets.token_bytes(BLOCK)
    padding = BLOCK - len(data) % BLOCK
    encryptor = Cipher(algorithms.AES(aes_key(password)), modes.CBC(start)).encryptor()
    secret = encryptor.update(data + bytes([padding]) * padding) + encryptor.finalize()
    return base64.b64encode(start + secret).decode()


def decrypt_aes(password: str, text: str) -> str:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    if not text:
        return ""
    try:
        data = base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FunctionError("illegal base64 data") from error
    if len(data) < 2 * BLOCK or len(data) % BLOCK:
        raise FunctionError("crypto/cipher: input not full blocks")
    mode = modes.CBC(data[:BLOCK])
    decryptor = Cipher(algorithms.AES(aes_key(password)), mode).decryptor()
    plain = decryptor.update(data[BLOCK:]) + decryptor.finalize()
    if plain[-1] > len(plain):
        raise FunctionError("slice bounds out of range", "is it the right password?")
    return from_bytes(plain[: len(plain) - plain[-1]])


def aes_key(password: str) -> bytes:
    return to_bytes(password)[:32].ljust(32, b"\0")


def gen_private_key(run: Run, kind: str) -> str:
    from orchestrator.helm import certificates

    run.budget.step(KEY_STEPS)
    return certificates.private_key(kind)


def gen_ca(run: Run, name: str, days: int) -> Struct:
    from orchestrator.helm import certificates

    run.budget.step(KEY_STEPS)
    return certificates.authority(run.now, name, days, certificates.new_key())


def gen_ca_with_key(run: Run, name: str, days: int, key: str) -> Struct:
    from orchestrator.helm import certificates

    return certificates.authority(run.now, name, days, certificates.parse_key(key))


def gen_self_signed_cert(run: Run, name: str, ips: GoList, dns: GoList, days: int) -> Struct:
    from orchestrator.helm import certificates

    run.budget.step(KEY_STEPS)
    subject = certificates.Subject(name, ips, dns, days, certificates.new_key())
    return certificates.self_signed(run.now, subject)


def gen_self_signed_cert_with_key(
    run: Run, name: str, ips: GoList, dns: GoList, days: int, key: str
) -> Struct:
    from orchestrator.helm import certificates

    subject = certificates.Subject(name, ips, dns, days, certificates.parse_key(key))
    return certificates.self_signed(run.now, subject)


def gen_signed_cert(
    run: Run, name: str, ips: GoList, dns: GoList, days: int, ca: Certificate
) -> Struct:
    from orchestrator.helm import certificates

    run.budget.step(KEY_STEPS)
    subject = certificates.Subject(name, ips, dns, days, certificates.new_key())
    return certificates.signed(run.now, subject, ca)


def gen_signed_cert_with_key(
    run: Run, name: str, ips: GoList, dns: GoList, days: int, ca: Certificate, key: str
) -> Struct:
    from orchestrator.helm import certificates

    subject = certificates.Subject(name, ips, dns, days, certificates.parse_key(key))
    return certificates.signed(run.now, subject, ca)


def build_custom_cert(certificate: str, key: str) -> Struct:
    from orchestrator.helm import certificates

    return certificates.custom(certificate, key)


FUNCTIONS: Mapping[str, Function] = {
    "bcrypt": bcrypt,
    "buildCustomCert": build_custom_cert,
    "decryptAES": decrypt_aes,
    "derivePassword": derive_password,
    "encryptAES": encrypt_aes,
    "genCA": gen_ca,
    "genCAWithKey": gen_ca_with_key,
    "genPrivateKey": gen_private_key,
    "genSelfSignedCert": gen_self_signed_cert,
    "genSelfSignedCertWithKey": gen_self_signed_cert_with_key,
    "genSignedCert": gen_signed_cert,
    "genSignedCertWithKey": gen_signed_cert_with_key,
    "htpasswd": htpasswd,
}
