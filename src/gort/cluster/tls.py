"""The encryption of connections between machines: a certificate made for one cluster, which the engine hands to nodes.

Both ends show the same certificate, and trust no other.  The proof of the secret (wire.py) comes after it, inside.  The
command `openssl` makes the certificate, on the driver's machine alone.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import tempfile

from gort.cluster.errors import ClusterError

__all__ = ["contexts", "make"]


def make() -> tuple[str, str]:
    """A self-signed certificate and its key, as text.  Blocks for some milliseconds.  Raises ClusterError."""
    with tempfile.TemporaryDirectory(prefix="gort-") as folder:  # which only this user can enter
        cert, key = os.path.join(folder, "cert"), os.path.join(folder, "key")
        command = [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", cert, "-days", "365", "-subj", "/CN=gort.cluster"),
        ]
        try:
            subprocess.run(command, check=True, capture_output=True)
            with open(cert) as c, open(key) as k:
                return c.read(), k.read()
        except (OSError, subprocess.CalledProcessError) as e:
            raise ClusterError(
                "connections between machines are encrypted, and the command openssl, which makes the certificate, "
                f"failed ({e}): install it, or say connect(tls=False) in a network that you trust"
            ) from e


def contexts(cert: str, key: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of who is dialled and of who dials."""
    made = []
    with tempfile.TemporaryDirectory(prefix="gort-") as folder:
        path = os.path.join(folder, "both")
        with open(path, "w") as f:
            f.write(key + cert)
        for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
            context = ssl.SSLContext(protocol)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.check_hostname = False  # nodes have no names: who has this certificate is one
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_cert_chain(path)
            context.load_verify_locations(cadata=cert)
            made.append(context)
    return made[0], made[1]
