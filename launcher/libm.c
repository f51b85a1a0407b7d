/*
 * libm for the interpreter, opened when a process first calculates with it, which no verb does: it would be 300 KiB of
 * the memory of every process, and 15 page faults at its start. Built with -fno-builtin: a compiler knows these names.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *find(const char *name)
{
    static void *libm;
    void *function;

    if (!libm)
        libm = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
    function = libm ? dlsym(libm, name) : NULL;
    if (!function) {
        fprintf(stderr, "pyrunc: %s\n", dlerror());
        abort();
    }
    return function;
}

#define FUNCTION(type, name, parameters, arguments)                                                                              \
    type name parameters;                                                                                                        \
    type name parameters                                                                                                         \
    {                                                                                                                            \
        static type(*function) parameters;                                                                                       \
                                                                                                                                 \
        if (!function)                                                                                                           \
            function = (type(*) parameters)find(#name);                                                                          \
        return function arguments;                                                                                               \
    }
#define OF_ONE(name) FUNCTION(double, name, (double x), (x))
#define OF_TWO(name) FUNCTION(double, name, (double x, double y), (x, y))

OF_ONE(acos) OF_ONE(acosh) OF_ONE(asin) OF_ONE(asinh) OF_ONE(atan) OF_ONE(atanh) OF_ONE(cbrt) OF_ONE(ceil)
OF_ONE(cos) OF_ONE(cosh) OF_ONE(erf) OF_ONE(erfc) OF_ONE(exp) OF_ONE(exp2) OF_ONE(expm1) OF_ONE(floor)
OF_ONE(log) OF_ONE(log10) OF_ONE(log1p) OF_ONE(log2) OF_ONE(round) OF_ONE(sin) OF_ONE(sinh) OF_ONE(sqrt)
OF_ONE(tan) OF_ONE(tanh)
OF_TWO(atan2) OF_TWO(fmod) OF_TWO(hypot) OF_TWO(nextafter) OF_TWO(pow)
FUNCTION(void, sincos, (double x, double *sine, double *cosine), (x, sine, cosine))
