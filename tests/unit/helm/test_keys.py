"""Keys and certificates are what they say; all else about them is random."""

from orchestrator.helm import render


def test_a_certificate_is_signed_by_its_authority() -> None:
    from cryptography import x509

    text = """{{ $ca := genCA "an authority" 365 -}}
    {{ $c := genSignedCert "host.example.org" (list "10.0.0.1") (list "a.b") 30 $ca -}}
    {{ $ca.Cert }}{{ $c.Cert }}"""
    authority, certificate = x509.load_pem_x509_certificates(render(text, {}, name="t").encode())
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.b"]
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 30
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints.ca


def test_a_hash_fits_its_password() -> None:
    import bcrypt

    user, _, digest = render('{{ htpasswd "me" "secret" }}', {}, name="t").partition(":")
    assert user == "me"
    assert bcrypt.checkpw(b"secret", digest.encode())


def test_what_is_encrypted_can_be_decrypted() -> None:
    text = '{{ $s := encryptAES "pw" "Ünï" }}{{ ne $s "Ünï" }} {{ decryptAES "pw" $s }}'
    assert render(text, {}, name="t") == "true Ünï"
