from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.models3d import ModelWorker
from gateway.kernel.errors import InvalidError
from tests.catalog.glbs import cube, pack, spoiled


@pytest.fixture(scope="module")
def worker() -> Any:
    with ModelWorker() as opened:
        yield opened


def _code(worker: ModelWorker, data: bytes) -> str:
    with pytest.raises(InvalidError) as refused:
        worker.measure(data)
    return refused.value.code


def test_measures_are_in_metres(worker: ModelWorker) -> None:
    measured = worker.measure(cube(0.2, 0.3, 0.1))
    assert measured.extents_m == (0.2, 0.3, 0.1)
    assert measured.triangles == 12
    assert measured.watertight
    assert not measured.suspect


def test_node_transforms_are_applied(worker: ModelWorker) -> None:
    def turned_and_doubled(document: Any) -> None:
        document["nodes"] = [
            {"children": [1], "scale": [2, 2, 2]},
            {"mesh": 0, "rotation": [0, 0, 0.70710678, 0.70710678]},
        ]

    assert worker.measure(spoiled(turned_and_doubled)).extents_m == (0.6, 0.4, 0.2)


def test_open_surface_is_not_watertight(worker: ModelWorker) -> None:
    def without_a_side(document: Any) -> None:
        document["accessors"][1]["count"] = 30

    measured = worker.measure(spoiled(without_a_side))
    assert (measured.triangles, measured.watertight) == (10, False)


@pytest.mark.parametrize(("side", "advice"), [(0.0001, "by 1000"), (300.0, "by 0.001")])
def test_model_in_other_units_is_refused_with_advice(worker: ModelWorker, side: float, advice: str) -> None:
    with pytest.raises(InvalidError, match=advice) as refused:
        worker.measure(cube(side, side, side))
    assert refused.value.code == "model.units_suspect"


def test_large_but_possible_model_is_suspect(worker: ModelWorker) -> None:
    assert worker.measure(cube(6.0, 1.0, 1.0)).suspect


def test_refused_model_leaves_the_worker_fit(worker: ModelWorker) -> None:
    assert _code(worker, b"glTF") == "model.not_glb"
    assert _code(worker, pack(b"[" * 1000, b"")) == "model.json_depth"
    assert worker.measure(cube()).triangles == 12


def test_worker_process_is_reused(worker: ModelWorker) -> None:
    worker.measure(cube())
    process = worker._process
    worker.measure(cube(0.5, 0.5, 0.5))
    assert worker._process is process


def test_worker_that_is_killed_refuses_the_model_and_starts_again() -> None:
    with ModelWorker() as worker:
        worker.measure(cube())
        assert worker._process is not None
        worker._process.kill()
        worker._process.wait()
        assert _code(worker, cube()) == "model.worker_killed"
        assert worker.measure(cube()).triangles == 12


def test_time_limit_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.catalog.models3d.START_SECONDS", 0.0)
    with ModelWorker(seconds_per_model=0.01) as worker:
        started = time.monotonic()
        assert _code(worker, cube()) == "model.worker_killed"
        assert time.monotonic() - started < 5


@pytest.mark.skipif(os.name == "nt", reason="no resource limits there")
def test_memory_limit_is_an_answer_and_no_crash() -> None:
    with ModelWorker(memory_bytes=80 * 1024**2) as worker:
        # Too little to load the libraries: whatever the worker does, the caller gets a refusal.
        assert _code(worker, cube()) in {"model.worker_killed", "model.too_complex", "model.unreadable"}


def test_file_above_the_limit_is_not_even_sent(worker: ModelWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.catalog.models3d.MAX_MODEL_BYTES", 100)
    assert _code(worker, cube()) == "model.too_large"


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from gateway.catalog import models3d
    from gateway.kernel.errors import UnavailableError

    monkeypatch.setitem(__import__("sys").modules, "trimesh", None)
    with pytest.raises(UnavailableError, match=r"vitrine\[models\]") as missing:
        models3d.measure(cube())
    assert missing.value.code == "model.extra_missing"
