"""Copies the installed packages that the command needs at run time beside its own: vendor.py DIRECTORY.

The command looks neither into site-packages nor into dist-packages. PACKAGES has a line for each dependency of
pyproject.toml; what is copied is what the interpreter that builds would import. Verbs that start containers import
cffi's run-time part alone.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec

# module -> whether the build fails without it
PACKAGES = {
    "_cffi_backend": True,  # nsexec's extension modules
    "google.protobuf": True,  # CRIU's RPC and images
    "google._upb": False,  # its compiled part, where it does not live in the package itself
}
NOT_AT_RUN_TIME = shutil.ignore_patterns("__pycache__", "compiler", "tests", "testing", "*.pyi")


def copy(module: str, target: str) -> bool:
    """The module or package into its place below `target`; False if this interpreter has none."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None  # the parent is missing
    if spec is None:
        return False
    place = os.path.join(target, *module.split(".")[:-1])
    os.makedirs(place, exist_ok=True)
    if spec.submodule_search_locations:
        own = os.path.join(place, module.rpartition(".")[2])
        shutil.copytree(spec.submodule_search_locations[0], own, ignore=NOT_AT_RUN_TIME, dirs_exist_ok=True)
    else:
        shutil.copy2(str(spec.origin), place)
    return True


def main(target: str) -> int:
    missing = [module for module, needed in PACKAGES.items() if not copy(module, target) and needed]
    if missing:
        print(f"{sys.executable} has no {', '.join(missing)}: see tools/deps build", file=sys.stderr)
    return len(missing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
