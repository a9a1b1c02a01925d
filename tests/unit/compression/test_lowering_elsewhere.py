"""From the same quantized parameters every process lowers the same bytes, whatever its number of threads."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest
from torch import nn

from orchestrator.compression.data import Preprocessing
from orchestrator.compression.pipeline import build
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.recipe import Recipe
from orchestrator.datasets import Splits

LOWER = """
import pickle, sys, torch
from orchestrator.compression.pipeline import build
torch.set_num_threads(int(sys.argv[1]))
arguments, keywords = pickle.load(sys.stdin.buffer)
print(build(*arguments, **keywords).digest.hex())
"""


@pytest.mark.parametrize("threads", [2, 3])
def test_another_process_with_other_threads_lowers_the_same_model(
    trained: Callable[[str], nn.Module], digits: Splits, preprocessing: Preprocessing, threads: int
) -> None:
    calibrate = digits.calibrate.take(slice(0, 64))
    quantized = quantize_network(trained("small"), calibrate, Recipe(weight_bits=4), preprocessing=preprocessing)
    arguments = (quantized, calibrate)
    keywords = {"name": "digits", "preprocessing": preprocessing, "labels": digits.labels}
    elsewhere = subprocess.run(
        [sys.executable, "-c", LOWER, str(threads)],
        input=pickle.dumps((arguments, keywords)),
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(threads)},
        capture_output=True,
        check=True,
    )
    assert elsewhere.stdout.decode().strip() == build(quantized, calibrate, **keywords).digest.hex()  # type: ignore[arg-type]
