"""Certificates for the tests, from an authority that only they trust."""

import functools
import ssl

import trustme


@functools.cache
def ours():
    """The authority."""
    return trustme.CA()


def write(folder, issued, name):
    """Writes PEM files of a certificate with its chain, and of its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def issue(folder, *names, authority=None, **options):
    """A certificate for these names: the paths of its file and of its key's."""
    return write(folder, (authority or ours()).issue_cert(*names, **options), names[0].replace("*", "_"))


def roots(folder, authority=None):
    """The path of the authority's own certificate."""
    path = folder / "roots.pem"
    (authority or ours()).cert_pem.write_to_path(path)
    return path


def client(alpn=(), version=None):
    """How a client that trusts the authority speaks TLS; of one version, if it is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours().configure_trust(context)
    context.set_alpn_protocols(list(alpn))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context
