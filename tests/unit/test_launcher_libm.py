"""launcher/libm.c: each function is the one of libm."""

from __future__ import annotations

import ctypes
import math
import re
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "launcher/libm.c"
NAMES = re.findall(r"OF_(ONE|TWO)\((\w+)\)", SOURCE.read_text().split("#define OF_TWO")[1])
OTHERS = {"round": lambda x: float(round(x)), "ceil": lambda x: float(math.ceil(x)), "floor": lambda x: float(math.floor(x))}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    output = tmp_path_factory.mktemp("libm") / "libm-late.so"
    flags = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-fno-builtin", "-fPIC", "-shared"]
    subprocess.run(["cc", *flags, "-o", output, SOURCE], check=True, timeout=60)
    return ctypes.CDLL(str(output))


@pytest.mark.parametrize(("arity", "name"), NAMES)
def test_it_is_the_function_of_that_name(library: ctypes.CDLL, arity: str, name: str) -> None:
    arguments = [1.25 if name == "acosh" else 0.625] if arity == "ONE" else [0.625, 3.5]
    function = library[name]
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * len(arguments)
    expected = OTHERS.get(name) or getattr(math, name)
    for _ in range(2):  # looked up, and remembered
        assert function(*arguments) == pytest.approx(expected(*arguments), rel=1e-15)


def test_sincos(library: ctypes.CDLL) -> None:
    sine, cosine = ctypes.c_double(), ctypes.c_double()
    library.sincos.restype, library.sincos.argtypes = None, [ctypes.c_double, *[ctypes.POINTER(ctypes.c_double)] * 2]
    library.sincos(0.625, sine, cosine)
    assert (sine.value, cosine.value) == pytest.approx((math.sin(0.625), math.cos(0.625)), rel=1e-15)
