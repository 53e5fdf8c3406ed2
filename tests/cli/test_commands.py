"""Every command on a small volume, for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from tests.cli.conftest import Bigseg


@pytest.fixture
def out(bigseg: Bigseg, pipeline: Path, volume: Path, tmp_path: Path) -> Path:
    """A finished run."""
    folder = tmp_path / "out"
    answer = bigseg("run", pipeline, "-i", volume, "-o", folder, "--workers", 0, "--block", 16)
    assert answer.code == 0, answer.err
    return folder


def test_run_says_where_everything_lies(bigseg: Bigseg, pipeline: Path, volume: Path, tmp_path: Path) -> None:
    """`bigseg run` prints values, volumes, tables, memory and the report; progress goes to stderr."""
    answer = bigseg("run", pipeline, "-i", volume, "-o", "out", "--workers", 0, "--block", 16)
    assert answer.code == 0
    table = pd.read_parquet(tmp_path / "out" / "tables" / "regions.parquet")
    for part in (
        "complete in",
        "levels: ",
        "out/objects.ome.zarr",
        f"regions.parquet: {len(table)} rows",
        "planned",
        "report.html",
    ):
        assert part in answer.out
    assert "out: new run" in answer.err
    assert "pass-1" in answer.err
    assert "12/12" in answer.err


def test_run_counts_what_is_there(out: Path, volume: Path) -> None:
    """The labels that a run wrote are those of scipy on the mask that it wrote."""
    import bigseg

    mask = bigseg.open_volume(out / "dark.ome.zarr").values
    labels = bigseg.open_volume(out / "objects.ome.zarr").values
    np.testing.assert_array_equal(labels, ndimage.label(mask)[0])
    assert labels.max() > 1


def test_run_again_finds_it_finished(bigseg: Bigseg, out: Path, pipeline: Path, volume: Path) -> None:
    """The same command on a finished run says so and changes nothing."""
    before = (out / "run.json").read_bytes()
    answer = bigseg("run", pipeline, "-i", volume, "-o", out, "--workers", 0)
    assert answer.code == 0
    assert "finished already" in answer.err
    assert (out / "run.json").read_bytes() == before


def test_run_from_the_saved_pipeline(bigseg: Bigseg, out: Path, volume: Path) -> None:
    """The pipeline.yaml in a run's folder is the same pipeline."""
    answer = bigseg("run", out / "pipeline.yaml", "-i", volume, "-o", out, "--workers", 0)
    assert answer.code == 0
    assert "finished already" in answer.err


def test_run_restart_begins_again(bigseg: Bigseg, out: Path, pipeline: Path, volume: Path) -> None:
    """--restart makes room for another pipeline."""
    answer = bigseg(
        "run", pipeline, "-i", volume, "-o", out, "--workers", 0, "--set", "dark.low=80", "--restart", "--json"
    )
    assert answer.code == 0
    assert answer.json["pipeline"]["steps"][2]["low"] == 80
    assert answer.json["status"] == "complete"


@pytest.mark.parametrize("restart", [(), ("--restart",)])
@pytest.mark.parametrize("name", ["dark.ome.zarr", "linked/dark.ome.zarr", "tables/scan.npy", "scratch/scan.npy"])
def test_a_run_never_replaces_its_input(
    bigseg: Bigseg, out: Path, pipeline: Path, name: str, restart: tuple[str, ...]
) -> None:
    """An input among what an earlier run made is refused with or without --restart, which is not proposed."""
    (out.parent / "linked").symlink_to(out)
    source = out.parent / name if name.startswith("linked") else out / name
    if source.suffix == ".npy":
        source.parent.mkdir(exist_ok=True)
        np.save(source, np.zeros((20, 30, 40), np.uint8))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    answer = bigseg("run", pipeline, "-i", source, "-o", out, "--workers", 0, *restart)
    assert answer.code == 5
    assert "is to be read" in answer.err
    assert "--restart" not in answer.err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_an_input_beside_what_a_run_made_is_left(bigseg: Bigseg, out: Path, pipeline: Path) -> None:
    """A file of the user's own in the folder of a run may be its input, but for the name of an output."""
    np.save(out / "scan.npy", np.random.default_rng(1).integers(0, 255, (20, 30, 40), np.uint8))
    assert bigseg("ingest", out / "scan.npy", out / "scan.ome.zarr", "--workers", 0).code == 0
    answer = bigseg("run", pipeline, "-o", out, "--workers", 0, "--restart", "-i", out / "scan.npy")
    assert answer.code == 0, answer.err
    (pipeline.parent / "other.yaml").write_text("version: 1\nsteps:\n- {id: scan, op: gaussian, sigma: 1}\n")
    answer = bigseg("run", "other.yaml", "-o", out, "--workers", 0, "--restart", "-i", out / "scan.ome.zarr")
    assert answer.code == 5, answer.err
    assert "is removed or written here" in answer.err


def test_a_run_continued_with_a_plane_says_what_differs(
    bigseg: Bigseg, out: Path, pipeline: Path, tmp_path: Path
) -> None:
    """The block of the run that lies there has three sizes, which nobody gave: that is not the mistake."""
    np.save(tmp_path / "plane.npy", np.zeros((20, 30), np.uint8))
    answer = bigseg("run", pipeline, "-i", tmp_path / "plane.npy", "-o", out)
    assert answer.code == 5, answer.err
    assert "inputs.input.shape" in answer.err
    assert "sizes for a volume" not in answer.err


def test_run_json_is_the_record(bigseg: Bigseg, pipeline: Path, volume: Path, tmp_path: Path) -> None:
    """--json prints run.json on stdout and JSON lines of progress on stderr."""
    answer = bigseg("run", pipeline, "-i", volume, "-o", "out", "--workers", 0, "--json")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert {key: value for key, value in answer.json.items() if key != "folder"} == record
    assert record["values"]["levels"]["otsu"] > 90
    lines = [json.loads(line) for line in answer.err.splitlines()]
    assert [line["number"] for line in lines] == sorted(line["number"] for line in lines)
    assert lines[-1]["number"] == lines[-1]["stages"] == len(record["stages"])


def test_plan_table_and_document(bigseg: Bigseg, pipeline: Path, volume: Path, tmp_path: Path) -> None:
    """`bigseg plan` shows stages, bytes, memory, what is stored and what is computed; --json the same."""
    arguments = ("plan", pipeline, "-i", volume, "--workers", 2, "--memory", "2GiB", "--block", 16)
    table = bigseg(*arguments)
    assert table.code == 0
    facts = bigseg(*arguments, "--json").json
    assert facts["blocks"] == 12
    assert facts["memory_a_worker"] == 2 << 30
    for stage in facts["stages"]:
        assert stage["name"] in table.out
        assert stage["memory"] <= facts["memory_needed"]
    assert any(stage["decode"] > 1 for stage in facts["stages"])  # the halo is told
    number = next(stage["number"] for stage in facts["stages"] if stage["name"] == "levels")
    assert facts["computed"] == [{"parameter": "dark.high", "value": "levels.otsu", "stage": number}]
    assert f"dark.high = levels.otsu, in stage {number}" in table.out
    assert "asked for under save" in table.out
    assert sorted(item.name for item in tmp_path.iterdir()) == ["pipeline.yaml"]


def test_status_of_a_finished_run(bigseg: Bigseg, out: Path) -> None:
    """A finished run is complete, with all blocks done and nothing to do."""
    facts = bigseg("status", out, "--json").json
    assert facts["status"] == "complete"
    assert facts["blocks_done"] == facts["blocks"] > 12
    assert not facts["running"]
    assert "complete" in bigseg("status", out).out


def test_status_of_a_stopped_run(bigseg: Bigseg, pipeline: Path, volume: Path, tmp_path: Path) -> None:
    """A stopped run tells how many blocks of which stage are done, and what to do."""
    from bigseg.pipeline.pipeline import Pipeline

    class Kill(BaseException):
        pass

    def observe(summary: object, done: int, units: int) -> None:
        if done == 5:
            raise Kill

    with pytest.raises(Kill):
        Pipeline.load(pipeline).run(volume, tmp_path / "out", workers=0, block=(16,), observe=observe)
    facts = bigseg("status", "out", "--json").json
    assert facts["status"] == "incomplete"
    assert not facts["running"]
    assert facts["stages"][0] == {"name": "pass-1", "done": 5, "blocks": 12}
    text = bigseg("status", "out").out
    assert "5 of 12" in text
    assert "run the same command again" in text
    answer = bigseg("report", "out")
    assert answer.code == 5
    assert "incomplete" in answer.err
    again = bigseg("run", pipeline, "-i", volume, "-o", "out", "--workers", 0, "--json")
    assert again.code == 0
    assert again.json["stages"][0]["computed"] == 7


def test_status_of_a_failed_run(bigseg: Bigseg, pipeline: Path, tmp_path: Path) -> None:
    """A run that met a NaN is failed, says where, and leaves with the code of the input."""
    array = np.zeros((20, 20, 20), np.float32)
    array[3, 4, 5] = np.nan
    np.save("scan.npy", array)
    answer = bigseg("run", pipeline, "-i", "scan.npy", "-o", "out", "--workers", 0)
    assert answer.code == 3
    assert "Traceback" not in answer.err
    facts = bigseg("status", "out", "--json").json
    assert facts["status"] == "failed"
    assert "NaN" in facts["error"]
    assert "mend the cause" in bigseg("status", "out").out


def test_report_is_written_anew(bigseg: Bigseg, out: Path) -> None:
    """`bigseg report` writes report.html from what lies in the folder."""
    path = out / "report.html"
    path.unlink(missing_ok=True)
    answer = bigseg("report", out)
    assert answer.code == 0
    assert answer.out.strip() == str(path)
    assert path.stat().st_size > 1000
    assert bigseg("report", out, "--json").json == {"report": str(path)}


def test_info(bigseg: Bigseg, volume: Path, out: Path) -> None:
    """`bigseg info` tells shape, type, spacing and missing chunks of a Zarr and of what a run wrote."""
    text = bigseg("info", volume).out
    assert "20 × 30 × 40 (z, y, x)" in text
    assert "0 chunks" in text
    facts = bigseg("info", out / "objects.ome.zarr", "--json").json
    assert facts["kind"] == "labels"
    assert facts["shape"] == [20, 30, 40]
    assert facts["missing_chunks"] == 0


def test_info_counts_missing_chunks(bigseg: Bigseg, volume: Path, tmp_path: Path) -> None:
    """Chunks that are not there are counted and named."""
    import shutil

    shutil.copytree(volume, "holes.zarr")
    Path("holes.zarr/c/0/1/0").unlink()
    facts = bigseg("info", "holes.zarr", "--json").json
    assert facts["missing_chunks"] == 1
    assert facts["first_missing"] == ["c/0/1/0"]


def test_ingest_then_info(bigseg: Bigseg, tmp_path: Path) -> None:
    """`bigseg ingest` stores a file with its spacing; the same command again finds it finished."""
    np.save("scan.npy", np.arange(9 * 10 * 11, dtype=np.uint16).reshape(9, 10, 11))
    arguments = ("ingest", "scan.npy", "scan.ome.zarr", "--spacing", "2 1 1 um", "--workers", 0)
    answer = bigseg(*arguments)
    assert answer.code == 0, answer.err
    assert "9 × 10 × 11 uint16, 2 × 1 × 1 micrometer" in answer.out
    assert "new ingest" in answer.err
    again = bigseg(*arguments, "--json")
    assert again.code == 0
    assert again.json["spacing"] == [2, 1, 1]
    assert "finished already" in bigseg(*arguments).err
    assert sorted(item.name for item in tmp_path.iterdir()) == ["scan.npy", "scan.ome.zarr"]


def test_status_of_an_image(bigseg: Bigseg, volume: Path, out: Path) -> None:
    """What an ingest or `phantom` finished is complete, and so is what a run saved; a foreign Zarr is refused."""
    assert bigseg("ingest", volume, "a.ome.zarr", "--workers", 0).code == 0
    assert bigseg("phantom", "voids", "b.ome.zarr", "--shape", 16, "--workers", 0).code == 0
    for image in ("a.ome.zarr", "b.ome.zarr", out / "objects.ome.zarr"):
        facts = bigseg("status", image, "--json").json
        assert (facts["status"], facts["running"], facts["error"]) == ("complete", False, None)
        assert bigseg("status", image).out == f"{image}: complete\nto do     nothing\n"
    answer = bigseg("status", volume)
    assert answer.code == 5
    assert "or an image made by `bigseg ingest`" in answer.err


def test_preview_writes_a_picture(bigseg: Bigseg, pipeline: Path, volume: Path) -> None:
    """`bigseg preview` writes a PNG and says what it was computed from."""
    answer = bigseg("preview", pipeline, "-i", volume, "--z", 10, "--planes", 5, "-o", "look.png")
    assert answer.code == 0, answer.err
    assert Path("look.png").read_bytes().startswith(b"\x89PNG")
    assert "plane 10 of 20" in answer.out
    document = bigseg("preview", pipeline, "-i", volume, "-o", "look.png", "--json").json
    assert document["values"]["levels"]["otsu"] > 0


def test_several_inputs_by_name(bigseg: Bigseg, volume: Path) -> None:
    """Inputs are named as in -i a=one.zarr, and steps name them in `from`."""
    steps = ("{id: m, op: threshold, from: xray, above: 100}", "{id: n, op: threshold, from: other, below: 50}")
    Path("two.yaml").write_text(f"version: 1\nsteps: [{', '.join(steps)}]\nsave: [m, n]\n")
    answer = bigseg(
        "run", "two.yaml", "-i", f"xray={volume}", "-i", f"other={volume}", "-o", "out", "--workers", 0, "--json"
    )
    assert answer.code == 0, answer.err
    assert answer.json["saved"] == ["m", "n"]
