"""Measuring 3D models, in a process of its own with limits on memory and time.

A hostile model may crash, fill or hang a mesh library, and importing one takes seconds. So one worker
process serves a whole import: it checks every model (`gateway.catalog.preflight`) and measures what passes
with trimesh. What it cannot survive ends the worker, not the gateway.

The worker reads ``<length>\\n<bytes>`` from its standard input and answers one line of JSON for each.
Models are only ever measured with trimesh, never written: the merchant's bytes are what clients get.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from gateway.catalog.assets import MAX_MODEL_BYTES
from gateway.catalog.pictures import draw
from gateway.catalog.preflight import preflight
from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import InvalidError, UnavailableError, VitrineError

SMALLEST_M, LARGEST_M = 0.005, 20.0
"""The longest side of a model; outside of it the file is surely not in metres."""
SUSPECT_M = 5.0
"""A longest side above this earns a warning."""
MEMORY_BYTES = 4 * 1024**3
SECONDS_PER_MODEL = 30.0
_LONGEST_ANSWER = 2 * 1024 * 1024
"""A picture of 512 by 512 points has at most a megabyte, and a third more as text."""
START_SECONDS = 60.0
"""The first model also waits for the interpreter and the libraries, on a busy machine."""
WELD_TRIANGLES = 200_000
"""Largest model whose seams are welded to see whether it is closed: that takes 25 times the loading."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Width, height and depth in metres with node transforms applied, drawn triangles, closed or not."""

    extents_m: tuple[float, float, float]
    triangles: int
    watertight: bool
    picture: bytes | None = None
    """A picture of the model (PNG); empty where none can be drawn, None where none was tried."""

    @property
    def suspect(self) -> bool:
        """Whether the size is possible but unusual for something on sale."""
        return max(self.extents_m) > SUSPECT_M


class ModelWorker:
    """One worker process for many models; a context manager. Blocks: use it off the event loop.

    The process starts with the first model and again after one that killed it.
    """

    def __init__(
        self, *, memory_bytes: int = MEMORY_BYTES, seconds_per_model: float = SECONDS_PER_MODEL
    ) -> None:
        self._memory_bytes = memory_bytes
        self._seconds_per_model = seconds_per_model
        self._process: subprocess.Popen[bytes] | None = None
        self._warm = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def measure(self, data: bytes) -> Measured:
        """Return the model's measures.

        Raises InvalidError ``model.<reason>`` for a model that is refused, also when it killed the worker
        (``model.worker_killed``), and UnavailableError ``model.extra_missing`` without the libraries.
        """
        if len(data) > MAX_MODEL_BYTES:
            raise InvalidError(
                "model.too_large", f"The file has {len(data)} bytes; {MAX_MODEL_BYTES} are the most."
            )
        process = self._started()
        seconds = self._seconds_per_model + (0.0 if self._warm else START_SECONDS)
        answer = _converse(process, data, seconds)
        if answer is None:
            self.close()
            raise InvalidError("model.worker_killed", "The model could not be measured within its limits.")
        self._warm = True
        if "code" in answer:
            known = UnavailableError if answer["code"] == "model.extra_missing" else InvalidError
            raise known(answer["code"], answer["message"])
        x, y, z = answer["extents_m"]
        picture = base64.b64decode(answer["picture"])
        return Measured((x, y, z), answer["triangles"], answer["watertight"], picture)

    def close(self) -> None:
        """End the worker."""
        process, self._process, self._warm = self._process, None, False
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    # What a dead worker did not read cannot be flushed any more.
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # The worker gets no environment beyond what an interpreter needs: it handles hostile bytes.
            kept = {
                name: value
                for name, value in os.environ.items()
                if name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH")
            }
            package_root = str(Path(__file__).resolve().parents[2])
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "gateway.catalog.models3d", str(self._memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**kept, "PYTHONPATH": package_root, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                cwd=os.sep,
            )
        return self._process


def _converse(process: subprocess.Popen[bytes], data: bytes, seconds: float) -> dict[str, Any] | None:
    """Send one model and return the answer, or None when the worker died or was ended for its time."""
    assert process.stdin is not None and process.stdout is not None
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        process.stdin.write(b"%d\n" % len(data))
        process.stdin.write(data)
        process.stdin.flush()
        line = process.stdout.readline(_LONGEST_ANSWER)
    except OSError:
        return None  # the pipe broke: the worker is gone
    finally:
        timer.cancel()
    if not line.endswith(b"\n"):
        return None
    answer: dict[str, Any] = decode(line.decode())
    return answer


def measure(data: bytes) -> Measured:
    """Check and measure a model in this process; what the worker runs. Errors as `ModelWorker.measure`."""
    try:
        import numpy  # noqa: F401 - asked for here, used by the preflight

        checked = preflight(data)
        import trimesh
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "model.extra_missing", "Measuring 3D models needs an extra: pip install 'vitrine[models]'."
        ) from error
    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb")
    x, y, z = (round(float(side), 4) for side in scene.extents)
    largest = max(x, y, z)
    if not SMALLEST_M <= largest <= LARGEST_M:
        raise InvalidError(
            "model.units_suspect",
            f"The longest side is {largest:g} m; glTF is in metres. {_scale_advice(largest)}",
        )
    picture = b"" if checked.textured else _drawn(scene, checked.triangles)
    return Measured((x, y, z), checked.triangles, _watertight(scene, checked.triangles), picture)


def _drawn(scene: Any, triangles: int) -> bytes:
    try:
        return draw(scene, triangles)
    except (ArithmeticError, ValueError, LookupError, AttributeError, TypeError, MemoryError):
        # A model that cannot be drawn here may still be sold: it has no picture.
        return b""


def _scale_advice(largest: float) -> str:
    if largest > LARGEST_M:
        return "If it was made in millimetres scale it by 0.001, in centimetres by 0.01, in inches by 0.0254."
    return "If it was exported at a thousandth of its size, scale it by 1000."


def _watertight(scene: Any, triangles: int) -> bool:
    """Return whether every mesh is closed once vertices that differ only in normals or UVs are welded."""
    if triangles > WELD_TRIANGLES:
        return False
    for mesh in scene.geometry.values():
        if not hasattr(mesh, "faces"):
            continue
        welded = mesh.copy()
        welded.merge_vertices(merge_tex=True, merge_norm=True)
        welded.update_faces(welded.nondegenerate_faces())
        if not welded.is_watertight:
            return False
    return True


def _limit(memory_bytes: int) -> None:
    """Bound this process. Windows has no such limits; there only the time is bounded, from outside."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _answer(data: bytes) -> dict[str, Any]:
    try:
        found = measure(data)
    except VitrineError as error:
        return {"code": error.code, "message": error.message}
    except MemoryError:
        return {"code": "model.too_complex", "message": "The model needs too much memory."}
    except Exception as error:
        # A mesh library's own words about a broken file; the worker stays fit for the next one.
        return {"code": "model.unreadable", "message": f"The model cannot be read: {type(error).__name__}."}
    return {
        "extents_m": found.extents_m,
        "triangles": found.triangles,
        "watertight": found.watertight,
        "picture": base64.b64encode(found.picture or b"").decode(),
    }


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    while line := requests.readline(32):
        data = requests.read(int(line))
        answers.write(encode(_answer(data)).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    _limit(int(sys.argv[1]))
    _serve(sys.stdin.buffer, sys.stdout.buffer)
