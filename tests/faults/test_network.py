"""Who can reach a run over a network: nobody where it starts its own workers, key holders alone on a cluster (R14)."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import numpy as np
import pytest
import yaml

from bigseg.cli.main import run
from bigseg.engine.certificates import CA, CERTIFICATE, KEY, make_certificates, refuse_open
from bigseg.errors import OutputError, UsageError
from bigseg.ops.threshold import Threshold
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage.lazy import open_volume
from tests.faults.driver import ROOT, environment
from tests.faults.refusals import loopback, opened
from tests.volumes import store

ARRAY = np.random.default_rng(3).integers(0, 256, (20, 30, 40)).astype(np.uint8)


def test_own_workers_listen_on_loopback_only(tmp_path: Path) -> None:
    """A run that starts two workers opens ports on the loopback interface alone, and none is left when it ends."""
    places = opened(tmp_path)
    assert loopback(places) == places


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys, as `bigseg cluster cert` makes it."""
    folder = tmp_path_factory.mktemp("cert") / "keys"
    make_certificates(folder)
    return folder


def test_keys_are_the_owners_alone(keys: Path, tmp_path: Path) -> None:
    """Folder and files are closed to others, the certificate is the authority's, and no key of that is left."""
    assert keys.stat().st_mode & 0o777 == 0o700
    files = {path.name: path.stat().st_mode & 0o777 for path in keys.iterdir()}
    assert files == dict.fromkeys(("ca.pem", "cert.pem", "key.pem", "dask.yaml"), 0o600)
    assert sorted(path.name for path in keys.parent.iterdir()) == ["keys"]
    verified = ["openssl", "verify", "-x509_strict", "-CAfile", keys / CA, keys / CERTIFICATE]
    assert subprocess.run(verified, capture_output=True, check=True).stdout.endswith(b": OK\n")
    assert sum(b"PRIVATE KEY" in path.read_bytes() for path in keys.iterdir()) == 1
    with pytest.raises(OutputError, match="never replaced"):
        make_certificates(keys)


def test_the_command_says_what_to_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`bigseg cluster cert` prints the two settings; the configuration that it writes names the keys."""
    folder = tmp_path / "it's here"
    assert run(["cluster", "cert", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"export DASK_CONFIG={folder}/dask.yaml" in said
    assert "export DASK_SCHEDULER_ADDRESS=tls://" in said
    comm = yaml.safe_load((folder / "dask.yaml").read_text())["distributed"]["comm"]
    assert comm["require-encryption"] is True
    for name in ("scheduler", "worker", "client"):
        assert comm["tls"][name] == {"cert": str(folder / CERTIFICATE), "key": str(folder / KEY)}


@contextmanager
def tls_cluster(keys: Path, tmp_path: Path) -> Iterator[str]:
    """A scheduler and a worker, started as the README says; gives the address."""
    environment = os.environ | {"DASK_CONFIG": str(keys / "dask.yaml")}
    file = tmp_path / "scheduler.json"
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file)
    worker = ("worker", "--scheduler-file", file, "--nthreads", "1", "--no-dashboard", "--memory-limit", "1GiB")
    started = []
    try:
        for command in (scheduler, worker):
            line = [sys.executable, "-m", "dask", *map(str, command)]
            started.append(subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, cwd=tmp_path))
        end = time.monotonic() + 60
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        address = str(yaml.safe_load(file.read_text())["address"])
        assert address.startswith("tls://127.0.0.1:")
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            process.wait(30)


def test_a_cluster_with_keys(keys: Path, tmp_path: Path) -> None:
    """With the two settings a run goes to a TLS cluster; without the keys nobody gets an answer."""
    store(tmp_path / "v.zarr", ARRAY)
    (tmp_path / "p.yaml").write_text("version: 1\nsteps: [{id: m, op: threshold, above: 100}]\n")
    with tls_cluster(keys, tmp_path) as address:
        settings = os.environ | {"DASK_CONFIG": str(keys / "dask.yaml"), "DASK_SCHEDULER_ADDRESS": address}
        line = [sys.executable, "-m", "bigseg.cli.main", "run", "p.yaml", "-i", "v.zarr", "-o", "out", "--json"]
        done = subprocess.run(line, env=settings, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["where"] == address
        np.testing.assert_array_equal(open_volume(tmp_path / "out" / "m.ome.zarr").values, ARRAY > 100)
        host, port = address.removeprefix("tls://").split(":")
        stranger = ssl.create_default_context()
        stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((host, int(port)), 10) as plain, pytest.raises(ssl.SSLError, match="certificate"):
            stranger.wrap_socket(plain).recv(1)  # TLS 1.3 tells with the first bytes


def test_the_lines_of_the_slurm_readme(tmp_path: Path) -> None:
    """What it says of several nodes, with the worker's script as a program, on loopback: keys made, used, needed."""
    text = (ROOT / "deploy" / "slurm" / "README.md").read_text().split("**Several nodes.**")[1].split("```")[1]
    cert, export, scheduler, workers, run = text.strip().splitlines()
    assert workers.startswith("sbatch --array=1-20 deploy/slurm/workers.sbatch ")
    assert scheduler.startswith("dask scheduler ")
    store(tmp_path / "scan.ome.zarr", ARRAY)
    (tmp_path / "voids.yaml").write_text("version: 1\nsteps: [{id: m, op: threshold, above: 100}]\n")
    script = [
        "trap 'kill $(jobs -p); wait' EXIT",
        cert,
        export,
        f"{scheduler} --host 127.0.0.1 --port 0 2> scheduler.log &",
        f"{workers.replace('sbatch --array=1-20 ', str(ROOT) + '/')} --host 127.0.0.1 2> worker.log &",
        "until grep -q 'Registered to' worker.log; do sleep 0.1; done; cp scheduler.json seen.json",
        f"{run} --json",  # begun before, it would wait a minute for the worker: too short on a busy machine
        "code=$?; unset DASK_CONFIG",
        f"{run.replace('runs/scan', 'runs/other')} && exit 99",
        "exit $code",
    ]
    around = environment() | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    around |= {"TMPDIR": str(tmp_path), "COLUMNS": "300"}
    line = ["timeout", "240", "bash", "-c", "\n".join(script)]
    done = subprocess.run(line, cwd=tmp_path, env=around, capture_output=True, text=True, check=False)
    logs = [path.read_text()[-2000:] for path in sorted(tmp_path.glob("*.log"))]
    assert done.returncode == 0, "\n".join([done.stderr, *logs])
    assert json.loads(done.stdout.splitlines()[-1])["where"] == "scheduler.json"
    assert json.loads((tmp_path / "seen.json").read_text())["address"].startswith("tls://127.0.0.1:")
    assert "no Dask scheduler answers at scheduler.json" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "runs" / "other").exists()
    np.testing.assert_array_equal(open_volume(tmp_path / "runs" / "scan" / "m.ome.zarr").values, ARRAY > 100)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://192.0.2.1:8786",
        "192.0.2.1:8786",
        "node7:8786",
        "tcp://[2001:db8::1]:8786",
        "ws://node7:1",
        "ucx://node7:1",
        "tcp://localhost.example.org:8786",
        "tcp://127.0.0.1.example.org:8786",
        "tcp://0.0.0.0:8786",
    ],
)
def test_open_clusters_are_refused(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler on another machine without TLS is refused, however it is named, unless that is allowed."""
    with pytest.raises(UsageError, match=r"not encrypted.*--insecure"):
        refuse_open(address)
    assert refuse_open(address, insecure=True) == address
    with dask.config.set({"scheduler-address": address}), pytest.raises(UsageError, match="not encrypted"):
        Pipeline([Threshold(above=1)]).run(ARRAY, tmp_path / "out", workers=None, scheduler=address)


def test_closed_ones_are_not() -> None:
    """This machine, and other machines with TLS, are let pass."""
    for address in ("tcp://127.0.0.1:8786", "tcp://[::1]:8786", "localhost:8786", "tls://node7:8786", "inproc://a/1/2"):
        assert refuse_open(address) == address
