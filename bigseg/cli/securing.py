"""Commands of `bigseg cluster`: what a cluster on several nodes needs before it is safe to use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bigseg.cli import options
from bigseg.cli.options import Command

EXAMPLE = "bigseg cluster cert ~/.bigseg-keys"

cluster = typer.Typer(
    help="Keys for a Dask cluster on several nodes.",
    epilog=f"Example: {EXAMPLE}",
    no_args_is_help=True,
    context_settings={"max_content_width": 100},
)


def cert(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder to make, on a disk that every node sees")],
    as_json: options.Json = False,
) -> None:
    """Make a key pair that scheduler, workers and bigseg show each other, and Dask's settings for it."""
    from bigseg.engine.certificates import DAYS, make_certificates

    config = make_certificates(folder)
    if as_json:
        print(json.dumps({"folder": str(config.parent), "config": str(config), "days": DAYS}))
        return
    print(
        f"{config.parent}: a key and its certificate, for {DAYS} days; whoever can read them may use the cluster\n\n"
        "on every node, before `dask scheduler`, `dask worker` and `bigseg`:\n"
        f"  export DASK_CONFIG={config}\n"
        "and where bigseg runs:\n"
        "  export DASK_SCHEDULER_ADDRESS=tls://HOST:8786"
    )


COMMANDS = (Command(cert, EXAMPLE),)
for _command in COMMANDS:
    cluster.command(epilog=f"Example: {_command.example}")(_command.function)
