"""Keys for a Dask cluster on several nodes: without them, whoever reaches the scheduler's port runs code as its user.

Scheduler, workers and the program that asks all show the same certificate, signed by an authority of its own whose
key is thrown away: so nobody can sign another, and who has the folder may join.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from bigseg.errors import OutputError, StorageError, UsageError

DAYS = 365
CA, CERTIFICATE, KEY, CONFIG = "ca.pem", "cert.pem", "key.pem", "dask.yaml"
ENCRYPTED = ("tls", "wss", "inproc")
"""Schemes of addresses that no network can listen to."""

_OPENSSL = """
[req]
distinguished_name = name
prompt = no
x509_extensions = ca
[name]
CN = bigseg cluster
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[member]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
_DASK = """distributed:
  comm:
    default-scheme: tls
    require-encryption: true
    tls:
      ca-file: {ca}
      scheduler: {{cert: {cert}, key: {key}}}
      worker: {{cert: {cert}, key: {key}}}
      client: {{cert: {cert}, key: {key}}}
"""


def make_certificates(folder: Path) -> Path:
    """Make a key, its certificate, and a configuration of Dask that uses them.

    Parameters
    ----------
    folder : to make, readable by its owner alone; every node of the cluster must see it.

    Returns
    -------
    The configuration, for ``DASK_CONFIG``.

    Raises
    ------
    OutputError
        When the folder exists: keys are never replaced.
    UsageError
        When there is no ``openssl``, or it fails.
    StorageError
        When the folder cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    if folder.exists():
        raise OutputError(f"{folder} exists already, and keys are never replaced: give another name, or remove it")
    program = shutil.which("openssl")
    if program is None:
        raise UsageError("there is no openssl command here: install it, or make the keys on another machine")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".bigseg-cert-", dir=folder.parent) as scratch:
            made = Path(scratch, "made")
            made.mkdir(mode=0o700)
            _sign(program, Path(scratch), made)
            names = {"ca": folder / CA, "cert": folder / CERTIFICATE, "key": folder / KEY}
            quoted = {name: "'" + str(path).replace("'", "''") + "'" for name, path in names.items()}
            (made / CONFIG).write_text(_DASK.format(**quoted))
            for path in made.iterdir():
                path.chmod(0o600)
            made.rename(folder)
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder / CONFIG


def _sign(program: str, scratch: Path, made: Path) -> None:
    """The authority in scratch, where its key stays and goes; the pair that it signs in ``made``."""
    (scratch / "openssl.cnf").write_text(_OPENSSL)
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", "openssl.cnf")
    days = ("-days", str(DAYS))
    for command in (
        ("req", "-x509", *new, *days, "-keyout", "authority.pem", "-out", f"{made / CA}"),
        ("req", *new, "-keyout", f"{made / KEY}", "-out", "request.pem"),
        (
            *("x509", "-req", "-in", "request.pem", "-CA", f"{made / CA}", "-CAkey", "authority.pem", *days),
            *("-CAserial", "serial", "-CAcreateserial", "-extfile", "openssl.cnf", "-extensions", "member"),
            *("-out", f"{made / CERTIFICATE}"),
        ),
    ):
        done = subprocess.run([program, *command], cwd=scratch, capture_output=True, text=True, umask=0o077)  # noqa: S603
        if done.returncode:
            raise UsageError(f"openssl {command[0]} failed: {done.stderr.strip()[-400:]}")


def refuse_open(address: str, insecure: bool = False) -> str:
    """The address of a scheduler, if others cannot read along or put in what they like.

    Parameters
    ----------
    address : ``tcp://127.0.0.1:8786``, ``tls://node7:8786``; without a scheme it is plain TCP.
    insecure : whether a plain connection to another machine is allowed.

    Raises
    ------
    UsageError
        When it leads to another machine without encryption.

    Examples
    --------
    >>> refuse_open("tls://node7:8786"), refuse_open("127.0.0.1:8786")
    ('tls://node7:8786', '127.0.0.1:8786')
    """
    scheme, _, rest = address.rpartition("://")
    if insecure or scheme in ENCRYPTED or _is_loopback(rest) or ":" not in rest:
        return address  # what has no port is no address, and says so when it is used
    raise UsageError(
        f"the scheduler at {address} is on another machine and the connection is not encrypted: whoever reaches its "
        "port can run code as you. Start it with TLS (`bigseg cluster cert DIR` makes the keys) and give tls://…, or "
        "allow it with --insecure (in Python: insecure=True) on a network that nobody else can reach"
    )


def _is_loopback(rest: str) -> bool:
    """Whether ``host:port`` is this machine, by the host's name alone: no name server is asked."""
    host = rest.rpartition(":")[0] or rest
    host = host.strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
