"""Starts runs of the chain in a tenth of a second, so that a test can kill many of them.

``python -m tests.faults.zygote`` imports everything, computes the chain's passes once on an array in memory so
that the kernels are loaded, and then forks a child of its own process group for each line of arguments on its
standard input; arguments that begin with ``recipe`` run one of `tests.faults.recipes`. It answers ``pid N`` when the
child runs and ``status N`` when it has ended. (The rehearsal
stores no image: TensorStore's threads would not survive the fork.)
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from bigseg.engine.source import Held
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage.spec import Spec
from tests.faults import chain, recipes


def rehearse() -> None:
    """Load the kernels that a run needs."""
    shape = (40, 40, 40)
    ramp = np.arange(64000, dtype=np.uint32).reshape(shape)
    array = (ramp * np.uint32(2654435761) >> np.uint32(24)).astype(np.uint8)
    held = Held(array, Spec(shape, array.dtype, ("z", "y", "x"), (1.0, 1.0, 1.0)))
    pipeline = Pipeline.from_dict({**chain.PIPELINE, "save": []})
    with tempfile.TemporaryDirectory() as folder:
        pipeline.run(held, Path(folder, "run"), workers=0, block=(20,), report=False)  # type: ignore[arg-type]


def serve() -> None:
    """Fork a child for each line of arguments."""
    rehearse()
    chain.say("ready")
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            os.setsid()
            try:
                arguments = json.loads(line)
                recipes.main(arguments[1:]) if arguments[0] == "recipe" else chain.main(arguments)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        chain.say(f"pid {pid}")
        _, status = os.waitpid(pid, 0)
        chain.say(f"status {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    serve()
