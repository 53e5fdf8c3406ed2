"""Functions of the user's: what they get, what is checked, when they may run, when a run may continue."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import yaml
from scipy import ndimage

import bigseg
from bigseg.cli.main import run as command
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.errors import ChangedError, ComputeError, ParameterError, PipelineError, ValuesError
from bigseg.ops.user_function import UserFunction
from bigseg.pipeline.steps import Step
from tests.volumes import store

IMAGE = np.random.default_rng(4).integers(0, 200, (8, 19, 21)).astype(np.uint8)
CODE = "import numpy as np\n\ndef double(x, times=2):\n    return (x * times).astype(x.dtype)\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return store(tmp_path / "v.zarr", IMAGE)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A pipeline file that names code beside it; the code leaves a mark when it is imported."""
    (tmp_path / "own_filters.py").write_text(CODE + f"open({str(tmp_path / 'imported')!r}, 'a').close()\n")
    steps = [{"id": "own", "op": "map_block", "function": "own_filters:double", "parameters": {"times": 3}}]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"version": 1, "steps": steps}))
    sys.modules.pop("own_filters", None)
    return tmp_path / "own.yaml"


def mapped(function: Any, path: Path, out: Path, **parameters: Any) -> bigseg.Run:
    settings = {"workers": 0, "report": False, "block": (4, 8, 8)}
    return bigseg.Pipeline([bigseg.MapBlock(function=function, **parameters)]).run(path, out, **settings)


def test_lambdas_and_closures_run_on_workers(image: Path, tmp_path: Path, cluster: DaskExecutor) -> None:
    """A closure travels to other processes with what it refers to."""
    size = (1, 3, 3)
    pipe = bigseg.Pipeline([bigseg.MapBlock(function=lambda x: ndimage.maximum_filter(x, size), depth=(0, 1, 1))])
    run = pipe.run(image, tmp_path / "run", block=(4, 8, 8), report=False, scheduler=cluster.client.scheduler.address)
    np.testing.assert_array_equal(run.outputs["map_block"], ndimage.maximum_filter(IMAGE, size))


def test_modules_that_workers_lack_travel_with_their_code(
    image: Path, recipe: Path, tmp_path: Path, cluster: DaskExecutor
) -> None:
    """A function in a file beside the pipeline runs on workers that cannot import it."""
    pipe = bigseg.Pipeline.load(recipe, allow_code=True)
    run = pipe.run(image, tmp_path / "run", report=False, scheduler=cluster.client.scheduler.address)
    np.testing.assert_array_equal(run.outputs["own"], IMAGE * 3)


def test_files_run_no_code_unless_allowed(recipe: Path, image: Path, tmp_path: Path) -> None:
    """Without --allow-code nothing is imported, whatever the command, and the error says how to allow it."""
    for words in (["run", "-o", str(tmp_path / "run")], ["plan"], ["preview", "-o", str(tmp_path / "p.png")]):
        assert command([words[0], str(recipe), "-i", str(image), *words[1:]]) == 2
    with pytest.raises(PipelineError, match=r"own_filters:double.*--allow-code"):
        bigseg.Pipeline.load(recipe)
    with pytest.raises(PipelineError, match="allow_code"):
        bigseg.Pipeline.from_dict(yaml.safe_load(recipe.read_text()))
    with pytest.raises(PipelineError, match="allow_code"):
        bigseg.Pipeline([bigseg.MapBlock(function="own_filters:double")]).plan(image)
    assert not (tmp_path / "imported").exists()
    assert not (tmp_path / "run").exists()


def test_allowed_code_runs_from_the_command_line(recipe: Path, image: Path, tmp_path: Path) -> None:
    """With --allow-code the file's function runs with its parameters; sys.path is left as it was."""
    before = list(sys.path)
    options = ["-i", str(image), "-o", str(tmp_path / "run"), "--workers", "0", "--allow-code"]
    assert command(["run", str(recipe), *options, "--set", "own.parameters={times: 1}"]) == 0
    np.testing.assert_array_equal(bigseg.open_volume(tmp_path / "run" / "own.ome.zarr"), IMAGE)
    assert sys.path == before


def test_changed_code_does_not_continue_a_run(recipe: Path, image: Path, tmp_path: Path) -> None:
    """The same file with other code behind it is refused, in the run's folder and in its pipeline.yaml."""
    settings = {"workers": 0, "report": False}
    bigseg.Pipeline.load(recipe, allow_code=True).run(image, tmp_path / "run", **settings)
    again = bigseg.Pipeline.load(recipe, allow_code=True).run(image, tmp_path / "run", **settings)
    assert again.record["starts"] == 1
    kept = tmp_path / "run" / "pipeline.yaml"
    (tmp_path / "kept").mkdir()
    for name in ("own_filters.py",):
        (tmp_path / "kept" / name).write_text(CODE.replace("x * times", "x + times"))
    (tmp_path / "kept" / "own.yaml").write_text(recipe.read_text())
    (tmp_path / "kept" / "kept.yaml").write_text(kept.read_text())
    sys.modules.pop("own_filters")
    with pytest.raises(ChangedError, match="digest"):
        bigseg.Pipeline.load(tmp_path / "kept" / "own.yaml", allow_code=True).run(image, tmp_path / "run", **settings)
    with pytest.raises(PipelineError, match="has changed"):
        bigseg.Pipeline.load(tmp_path / "kept" / "kept.yaml", allow_code=True)
    sys.modules.pop("own_filters", None)


def test_digests_tell_closures_apart() -> None:
    """Two closures of one source with other values have other digests; the same one twice has the same."""

    def adder(n: int) -> Any:
        return lambda x: x + n

    assert UserFunction.of(adder(1)).digest == UserFunction.of(adder(1)).digest
    assert UserFunction.of(adder(1)).digest != UserFunction.of(adder(2)).digest


def test_a_pipeline_with_a_function_is_written_with_its_digest() -> None:
    """as_dict names function and digest, and shows no bytes."""
    step = Step("m", bigseg.MapBlock(function=ndimage.median_filter, parameters={"size": 3}, depth=1))
    found = step.as_dict()
    assert found["function"] == "scipy.ndimage._filters:median_filter"
    assert len(found["digest"]) == 32
    assert yaml.safe_load(yaml.safe_dump(found)) == found


def test_a_function_may_change_its_array(image: Path, tmp_path: Path) -> None:
    """What a function writes into its array is seen by nobody else."""

    def spoil(x: np.ndarray) -> np.ndarray:
        x[:] = 7
        return x

    pipe = bigseg.Pipeline(
        [
            Step("a", bigseg.Median(size=1)),
            Step("b", bigseg.MapBlock(function=spoil)),
            Step("c", bigseg.Median(), ("a",)),
        ],
        ["a", "b", "c"],
    )
    run = pipe.run(image, tmp_path / "run", block=(4, 8, 8), workers=0, report=False)
    np.testing.assert_array_equal(run.outputs["a"], IMAGE)
    np.testing.assert_array_equal(run.outputs["c"], ndimage.median_filter(IMAGE, 3))
    assert (run.outputs["b"] == 7).all()


WRONG = [
    (lambda x: x[1:], ParameterError, r"shape.*cropped afterwards"),
    (lambda x: None, ParameterError, "NoneType"),
    (lambda x: x * 1.5, ParameterError, "dtype: float64"),
    (lambda x: 1 // 0, ComputeError, "raised ZeroDivisionError"),
    (lambda x, y: x, ComputeError, "missing 1 required"),
]


@pytest.mark.parametrize(("function", "kind", "said"), WRONG)
def test_wrong_results_name_the_function(
    function: Any, kind: type[Exception], said: str, image: Path, tmp_path: Path
) -> None:
    """Another shape or dtype, no array, or an error: refused, and the message names the function."""
    with pytest.raises(kind, match=said) as caught:
        mapped(function, image, tmp_path / "run")
    assert "test_map_block:<lambda>" in str(caught.value)


def test_values_that_are_not_finite_are_refused(image: Path, tmp_path: Path) -> None:
    """NaN and Inf of a function are found in the block, not in a result."""
    with pytest.raises(ValuesError, match="NaN"):
        mapped(lambda x: np.full(x.shape, np.nan), image, tmp_path / "run", dtype=float)


@pytest.mark.parametrize("function", ["no colon", "a:b c", 5, None, "os.system('x'):y"])
def test_what_is_no_function_is_refused(function: Any) -> None:
    """Neither a callable nor module:name."""
    with pytest.raises(ValueError, match="module:name"):
        bigseg.MapBlock(function=function)


def test_functions_that_do_not_exist_are_refused_by_name(tmp_path: Path) -> None:
    """A module or function that is not there is an error of the step."""
    for name in ("no_such_module:f", "numpy:no_such_function", "numpy:pi"):
        data = {"version": 1, "steps": [{"id": "own", "op": "map_block", "function": name}]}
        with pytest.raises(PipelineError, match=rf"step 'own'.*{name}"):
            bigseg.Pipeline.from_dict(data, allow_code=True)


def test_what_cannot_travel_is_refused_at_once() -> None:
    """A function that holds a lock is refused when the pipeline is made."""
    lock = threading.Lock()
    with pytest.raises(ParameterError, match="cannot be sent"):
        bigseg.MapBlock(function=lambda x: lock)


def test_the_function_on_arrays_stays_lazy() -> None:
    """bigseg.map_block of a dask array is lazy, and the same bits as on the whole array."""
    lazy = da.from_array(IMAGE, (4, 7, 9))
    found = bigseg.map_block(lazy, ndimage.grey_dilation, depth=1, parameters={"size": 3})
    assert isinstance(found, da.Array)
    np.testing.assert_array_equal(found.compute(), ndimage.grey_dilation(IMAGE, 3))


def test_depth_takes_units_and_memory_counts_the_function(tmp_path: Path) -> None:
    """A depth with a unit becomes voxels, rounded up; the plan grows with bytes_a_voxel."""
    array = store(tmp_path / "v.zarr", np.zeros((64, 64, 64), np.uint8))

    def memory(taken: float) -> int:
        step = bigseg.MapBlock(function=np.negative, depth=3, bytes_a_voxel=taken)
        return bigseg.Pipeline([step]).plan(array, block=(32,), workers=0).memory

    assert memory(100) - memory(0) >= 100 * 32**3
    spec = bigseg.functions.describe(np.zeros((4, 4))).but(spacing=(0.5, 2.0), unit="micrometer")
    assert bigseg.MapBlock(function=np.negative, depth="3 um").applied().depth(spec) == (6, 2)
