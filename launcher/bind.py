"""Writes binding.c: nsexec/src/host.h as the built-in module nsexec._nsexec of the launcher.

The same names and behaviour as cffi's module of nsexec/build.py, which dlopens itself and _cffi_backend in every
process and so cannot be part of an image. A declaration that this script does not understand fails the build.
"""

from __future__ import annotations

import re
import sys

# C type of a parameter -> (its variable, the converter of binding.h)
PARAMETERS = {
    "int": ("int", "binding_int"),
    "unsigned int": ("unsigned int", "binding_uint"),
    "unsigned long": ("unsigned long", "binding_ulong"),
    "uint32_t": ("unsigned int", "binding_uint"),
    "uint64_t": ("unsigned long", "binding_ulong"),
    "size_t": ("unsigned long", "binding_ulong"),
    "int64_t": ("long", "binding_long"),
    "long": ("long", "binding_long"),
    "const char *": ("const char *", "binding_string"),
    "void *": ("void *", "binding_buffer"),
    "const void *": ("void *", "binding_buffer"),
    "const int *": ("struct binding_ints", "binding_ints"),
}
RESULTS = ("int", "long", "int64_t")
DECLARATION = re.compile(r"^([a-z0-9_ ]+?)\s(nsexec_[a-z0-9_]+)\(([^)]*)\);", re.MULTILINE)


def declarations(header: str) -> list[tuple[str, str, list[str]]]:
    """(result, name, types of the parameters) of every function."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    return [(result, name, types(parameters)) for result, name, parameters in DECLARATION.findall(text)]


def types(parameters: str) -> list[str]:
    names = [" ".join(p.split()) for p in parameters.split(",")]
    return [] if names == ["void"] else [re.sub(r"\w+$", "", name).strip() for name in names]


def wrapper(result: str, name: str, parameters: list[str]) -> str:
    """One Python-callable function."""
    unknown = [t for t in (*parameters,) if t not in PARAMETERS] + [result] * (result not in RESULTS)
    if unknown:
        raise SystemExit(f"host.h: {name}: the launcher's binding has no {unknown[0]!r}")
    variables = [(PARAMETERS[t][0], f"a{i}") for i, t in enumerate(parameters)]
    checks = [f"{PARAMETERS[t][1]}(args[{i}], &a{i})" for i, t in enumerate(parameters)]
    arguments = ", ".join(f"{v}.value" if t.startswith("struct") else v for t, v in variables)
    return "\n".join(
        [
            f"static PyObject *py_{name}(PyObject *self, PyObject *const *args, Py_ssize_t count)",
            "{",
            *[f"    {t} {v};" for t, v in variables],
            "    long result;",
            "    (void)self; (void)args;",
            f"    if ({' || '.join([f'!binding_count(count, {len(parameters)})', *['!' + c for c in checks]])})",
            "        return NULL;",
            "    Py_BEGIN_ALLOW_THREADS",
            f"    result = {name}({arguments});",
            "    Py_END_ALLOW_THREADS",
            "    return PyLong_FromLong(result);",
            "}",
            "",
        ]
    )


def main(header: str, output: str) -> None:
    with open(header, encoding="ascii") as f:
        text = f.read()
    functions = declarations(text)
    if len(functions) != text.count(");\n"):
        raise SystemExit("host.h: a declaration that the launcher's binding does not understand")
    methods = [f'    {{"{name}", (PyCFunction)(void *)py_{name}, METH_FASTCALL, NULL}},' for _, name, _ in functions]
    with open(output, "w", encoding="ascii") as f:
        f.write('#include "binding.h"\n#include "host.h"\n\n')
        f.writelines(wrapper(*function) for function in functions)
        f.write("\n".join(["static PyMethodDef methods[] = {", *methods, "    {NULL, NULL, 0, NULL}};\n"]))
        f.write('#include "binding_module.h"\n')


if __name__ == "__main__":
    main(*sys.argv[1:])
