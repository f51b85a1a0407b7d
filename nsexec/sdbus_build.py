"""Build of nsexec._sdbus: what Python calls of libsystemd's D-Bus client, sd-bus(3).

Declarations only: libsystemd is opened when a unit is to be made, so building needs neither the library nor its headers, and
one build serves hosts with systemd and without. The ABI is stable (symbol versions LIBSYSTEMD_221 to 240).
`python nsexec/sdbus_build.py` writes nsexec/_sdbus.py. setuptools uses `ffibuilder`.
"""

from __future__ import annotations

import os

import cffi

HERE = os.path.dirname(os.path.abspath(__file__))

ffibuilder = cffi.FFI()
ffibuilder.cdef(
    """
    typedef struct sd_bus sd_bus;
    typedef struct sd_bus_message sd_bus_message;
    typedef struct { const char *name; const char *message; int _need_free; } sd_bus_error;

    int sd_bus_new(sd_bus **bus);
    int sd_bus_set_address(sd_bus *bus, const char *address);
    int sd_bus_set_bus_client(sd_bus *bus, int yes);
    int sd_bus_start(sd_bus *bus);
    int sd_bus_call(sd_bus *bus, sd_bus_message *call, uint64_t usec, sd_bus_error *error, sd_bus_message **reply);
    int sd_bus_process(sd_bus *bus, sd_bus_message **message);
    int sd_bus_wait(sd_bus *bus, uint64_t usec);
    sd_bus *sd_bus_flush_close_unref(sd_bus *bus);
    void sd_bus_error_free(sd_bus_error *error);

    int sd_bus_message_new_method_call(sd_bus *bus, sd_bus_message **message, const char *destination, const char *path,
                                       const char *interface, const char *member);
    int sd_bus_message_append_basic(sd_bus_message *message, char type, const void *value);
    int sd_bus_message_open_container(sd_bus_message *message, char type, const char *contents);
    int sd_bus_message_close_container(sd_bus_message *message);
    int sd_bus_message_is_signal(sd_bus_message *message, const char *interface, const char *member);
    int sd_bus_message_enter_container(sd_bus_message *message, char type, const char *contents);
    int sd_bus_message_read_basic(sd_bus_message *message, char type, void *value);
    sd_bus_message *sd_bus_message_unref(sd_bus_message *message);
    """
)
ffibuilder.set_source("nsexec._sdbus", None)

if __name__ == "__main__":
    ffibuilder.emit_python_code(os.path.join(HERE, "_sdbus.py"))
