/* The module around bind.py's `methods`: `lib` has the functions, `ffi.from_buffer` gives its argument back. */

static PyObject *from_buffer(PyObject *self, PyObject *buffer)
{
    (void)self;
    return Py_NewRef(buffer);
}

static PyMethodDef ffi_methods[] = {{"from_buffer", from_buffer, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef lib_module = {.m_base = PyModuleDef_HEAD_INIT, .m_name = "lib", .m_methods = methods};
static struct PyModuleDef ffi_module = {.m_base = PyModuleDef_HEAD_INIT, .m_name = "ffi", .m_methods = ffi_methods};
static struct PyModuleDef module = {.m_base = PyModuleDef_HEAD_INIT, .m_name = "nsexec._nsexec"};

PyMODINIT_FUNC PyInit__nsexec(void);
PyMODINIT_FUNC PyInit__nsexec(void)
{
    PyObject *self = PyModule_Create(&module);

    if (!self || PyModule_AddObject(self, "lib", PyModule_Create(&lib_module)) < 0
        || PyModule_AddObject(self, "ffi", PyModule_Create(&ffi_module)) < 0)
        return NULL;
    return self;
}
