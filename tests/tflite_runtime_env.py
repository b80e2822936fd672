"""An environment of its own for tflite-runtime 2.14, whose wheels want an older Python and numpy than ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

PACKAGES = ("tflite-runtime==2.14.0", "numpy<2")
PYTHONS = ("python3.11", "python3.10", "python3.9")  # the last ones it has wheels for
DIRECTORY = Path(__file__).parent.parent / ".venv-tflite"

_RUN = """
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
model, source, target = sys.argv[1:]
interpreter = Interpreter(model, num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load(source))
interpreter.invoke()
np.save(target, interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
"""


def old_python() -> Path:
    """The environment's interpreter, made once in the repository; skips the test with the reason if that fails."""
    python = DIRECTORY / "bin" / "python"
    if python.is_file():
        return python
    base = _base_python()
    if base is None:
        pytest.skip(f"tflite-runtime has wheels for {', '.join(PYTHONS)}, and none of them is here")
    building = DIRECTORY.with_name(f"{DIRECTORY.name}.{os.getpid()}")
    try:
        _command(base, "-m", "venv", str(building))
        _command(str(building / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir", *PACKAGES)
        building.rename(DIRECTORY)
    except OSError:
        if not python.is_file():  # else another process was faster
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return python


def _base_python() -> str | None:
    if f"python3.{sys.version_info.minor}" in PYTHONS:
        return sys.executable
    return next((found for name in PYTHONS if (found := shutil.which(name))), None)


def _command(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=180)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        pytest.skip(f"no environment for tflite-runtime: {lines[-1]}")


def run_with_tflite_runtime(
    python: Path, model: Path, images: NDArray[np.float32], folder: Path
) -> NDArray[np.float32]:
    """Output of `model` for `images`, both as the file has them."""
    source, target = folder / "images.npy", folder / "output.npy"
    np.save(source, images)
    words = [str(python), "-c", _RUN, str(model), str(source), str(target)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    output: NDArray[np.float32] = np.load(target)
    return output
