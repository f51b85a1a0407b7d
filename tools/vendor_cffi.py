"""Copies cffi's run-time part, the extension module _cffi_backend, beside the installed packages.

nsexec's extension modules need it, and the installed command looks neither into site-packages nor into dist-packages.
"""

from __future__ import annotations

import shutil
import sys

import _cffi_backend

if __name__ == "__main__":
    shutil.copy(_cffi_backend.__file__, sys.argv[1])
