/* From Python's objects to C's values as cffi does it, for the functions that bind.py writes. */
#ifndef BINDING_H
#define BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <limits.h>

struct binding_ints {
    int value[4096]; /* as many as nsexec_spawn takes */
};

static inline int binding_count(Py_ssize_t given, Py_ssize_t wanted)
{
    if (given != wanted)
        PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", wanted, given);
    return given == wanted;
}

static inline int binding_long(PyObject *object, long *value)
{
    *value = PyLong_AsLong(object);
    return *value != -1 || !PyErr_Occurred();
}

static inline int binding_ulong(PyObject *object, unsigned long *value)
{
    *value = PyLong_AsUnsignedLong(object);
    return *value != (unsigned long)-1 || !PyErr_Occurred();
}

static inline int binding_int(PyObject *object, int *value)
{
    long wide;

    if (!binding_long(object, &wide))
        return 0;
    *value = (int)wide;
    if (*value != wide)
        PyErr_Format(PyExc_OverflowError, "integer %ld does not fit 'int'", wide);
    return *value == wide;
}

static inline int binding_uint(PyObject *object, unsigned int *value)
{
    unsigned long wide;

    if (!binding_ulong(object, &wide))
        return 0;
    *value = (unsigned int)wide;
    if (*value != wide)
        PyErr_Format(PyExc_OverflowError, "integer %lu does not fit 'unsigned int'", wide);
    return *value == wide;
}

/* Refuses a NUL inside, where cffi would cut the name short. */
static inline int binding_string(PyObject *object, const char **value)
{
    return PyBytes_AsStringAndSize(object, (char **)value, NULL) == 0;
}

/* The caller's reference keeps the memory in place until the function returns. */
static inline int binding_buffer(PyObject *object, void **value)
{
    Py_buffer view;

    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0)
        return 0;
    *value = view.buf;
    PyBuffer_Release(&view);
    return 1;
}

static inline int binding_ints(PyObject *object, struct binding_ints *value)
{
    PyObject *sequence = PySequence_Fast(object, "a sequence of integers");
    Py_ssize_t i, n;
    int good;

    if (!sequence)
        return 0;
    n = PySequence_Fast_GET_SIZE(sequence);
    good = n <= (Py_ssize_t)(sizeof(value->value) / sizeof(int));
    if (!good)
        PyErr_SetString(PyExc_OverflowError, "too many integers");
    for (i = 0; good && i < n; i++)
        good = binding_int(PySequence_Fast_GET_ITEM(sequence, i), &value->value[i]);
    Py_DECREF(sequence);
    return good;
}

#endif
