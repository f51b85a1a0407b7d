"""Prints an optional-dependencies group of pyproject.toml for `pip install -r`, without building the project."""

from __future__ import annotations

import sys
import tomllib

if __name__ == "__main__":
    with open(sys.argv[1], "rb") as f:
        print("\n".join(tomllib.load(f)["project"]["optional-dependencies"][sys.argv[2]]))
