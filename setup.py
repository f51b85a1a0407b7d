"""The cffi extensions, which pyproject.toml has no words for."""

from __future__ import annotations

from setuptools import setup

setup(cffi_modules=["nsexec/build.py:ffibuilder", "nsexec/seccomp_build.py:ffibuilder", "nsexec/sdbus_build.py:ffibuilder"])
