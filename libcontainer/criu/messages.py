"""CRIU's RPC messages (images/rpc.proto of CRIU 4.2), as classes of the installed protobuf.

The classes are built at run time from the table below, so they fit any version of google.protobuf: modules that protoc
generates are bound to the one they were made for. They live in a pool of their own, beside pycriu's. Enums are plain
int32 here, which is the same on the wire. `tests/unit/test_criu_messages.py` compares the table with pycriu's, if there.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = Any

# criu_req_type
DUMP, RESTORE, CHECK, PRE_DUMP, PAGE_SERVER, NOTIFY = 1, 2, 3, 4, 5, 6
CPUINFO_DUMP, CPUINFO_CHECK, FEATURE_CHECK, VERSION, WAIT_PID, PAGE_SERVER_CHLD, SINGLE_PRE_DUMP = 7, 8, 9, 10, 11, 12, 13
NAMES = {DUMP: "dump", RESTORE: "restore", PRE_DUMP: "pre-dump", FEATURE_CHECK: "feature check", VERSION: "version"}
# criu_cg_mode
CGROUPS_IGNORE, CGROUPS_NONE, CGROUPS_PROPS, CGROUPS_SOFT, CGROUPS_FULL, CGROUPS_STRICT, CGROUPS_DEFAULT = range(7)
# criu_network_lock_method
LOCK_IPTABLES, LOCK_NFTABLES, LOCK_SKIP = 1, 2, 3
CLONE_NEWNET = 0x40000000

# "number type name", with ! for required and * for repeated ones; a type that is no scalar is a message.
TABLE = {
    "criu_page_server_info": "1 string address, 2 int32 port, 3 int32 pid, 4 int32 fd",
    "criu_veth_pair": "1 string if_in!, 2 string if_out!",
    "ext_mount_map": "1 string key!, 2 string val!",
    "join_namespace": "1 string ns!, 2 string ns_file!, 3 string extra_opt",
    "inherit_fd": "1 string key!, 2 int32 fd!",
    "cgroup_root": "1 string ctrl, 2 string path!",
    "unix_sk": "1 uint32 inode!",
    "criu_opts": """
        1 int32 images_dir_fd!, 2 int32 pid, 3 bool leave_running, 4 bool ext_unix_sk, 5 bool tcp_established,
        6 bool evasive_devices, 7 bool shell_job, 8 bool file_locks, 9 int32 log_level, 10 string log_file,
        11 criu_page_server_info ps, 12 bool notify_scripts, 13 string root, 14 string parent_img, 15 bool track_mem,
        16 bool auto_dedup, 17 int32 work_dir_fd, 18 bool link_remap, 19 criu_veth_pair veths*, 20 uint32 cpu_cap,
        21 bool force_irmap, 22 string exec_cmd*, 23 ext_mount_map ext_mnt*, 24 bool manage_cgroups,
        25 cgroup_root cg_root*, 26 bool rst_sibling, 27 inherit_fd inherit_fd*, 28 bool auto_ext_mnt,
        29 bool ext_sharing, 30 bool ext_masters, 31 string skip_mnt*, 32 string enable_fs*, 33 unix_sk unix_sk_ino*,
        34 int32 manage_cgroups_mode, 35 uint32 ghost_limit, 36 string irmap_scan_paths*, 37 string external*,
        38 uint32 empty_ns, 39 join_namespace join_ns*, 41 string cgroup_props, 42 string cgroup_props_file,
        43 string cgroup_dump_controller*, 44 string freeze_cgroup, 45 uint32 timeout, 46 bool tcp_skip_in_flight,
        47 bool weak_sysctls, 48 bool lazy_pages, 49 int32 status_fd, 50 bool orphan_pts_master, 51 string config_file,
        52 bool tcp_close, 53 string lsm_profile, 54 string tls_cacert, 55 string tls_cacrl, 56 string tls_cert,
        57 string tls_key, 58 bool tls, 59 bool tls_no_cn_verify, 60 string cgroup_yard, 61 int32 pre_dump_mode,
        62 int32 pidfd_store_sk, 63 string lsm_mount_context, 64 int32 network_lock, 65 bool mntns_compat_mode,
        66 bool skip_file_rwx_check, 67 bool unprivileged, 68 string images_dir, 69 bool leave_stopped,
        70 bool display_stats, 71 bool log_to_stderr""",
    "criu_dump_resp": "1 bool restored",
    "criu_restore_resp": "1 int32 pid!",
    "criu_notify": "1 string script, 2 int32 pid",
    "criu_features": "1 bool mem_track, 2 bool lazy_pages, 3 bool pidfd_store",
    "criu_req": """
        1 int32 type!, 2 criu_opts opts, 3 bool notify_success, 4 bool keep_open, 5 criu_features features, 6 uint32 pid""",
    "criu_version": """
        1 int32 major_number!, 2 int32 minor_number!, 3 string gitid, 4 int32 sublevel, 5 int32 extra, 6 string name""",
    "criu_resp": """
        1 int32 type!, 2 bool success!, 3 criu_dump_resp dump, 4 criu_restore_resp restore, 5 criu_notify notify,
        6 criu_page_server_info ps, 7 int32 cr_errno, 8 criu_features features, 9 string cr_errmsg, 10 criu_version version,
        11 int32 status""",
}
_SCALARS = {"int32": 5, "bool": 8, "string": 9, "uint32": 13}  # FieldDescriptorProto.Type
_MESSAGE = 11
_OPTIONAL, _REQUIRED, _REPEATED = 1, 2, 3  # FieldDescriptorProto.Label
_classes: dict[str, Any] = {}


def request(kind: int) -> Message:
    """A criu_req of this type."""
    return _class("criu_req")(type=kind)


def response(data: bytes) -> Message:
    """The criu_resp of a packet; ValueError if it is none."""
    from google.protobuf.message import DecodeError

    try:
        found = _class("criu_resp").FromString(data)
    except DecodeError as err:
        raise ValueError(str(err)) from None
    if not found.IsInitialized():  # not every version checks
        raise ValueError("a required field is missing")
    return found


def options(**fields: Any) -> Message:
    """criu_opts; those of a notification's answer need an images_dir_fd too, which is -1 then."""
    return _class("criu_opts")(**{"images_dir_fd": -1, **fields})


def _class(name: str) -> Any:
    if not _classes:
        _classes.update(_build())
    return _classes[name]


def _build() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="rpc.proto", syntax="proto2")
    for name, fields in TABLE.items():
        message = file.message_type.add(name=name)
        for field in fields.split(","):
            _add_field(message, *field.split())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    get = _getter(message_factory, pool)
    return {name: get(pool.FindMessageTypeByName(name)) for name in TABLE}


def _getter(factory: Any, pool: Any) -> Any:
    """The function that makes a class of a descriptor: it has had two names."""
    found = getattr(factory, "GetMessageClass", None)  # since protobuf 4.22
    return found or factory.MessageFactory(pool).GetPrototype


def _add_field(message: Any, number: str, kind: str, name: str) -> None:
    label = {"!": _REQUIRED, "*": _REPEATED}.get(name[-1], _OPTIONAL)
    field = message.field.add(number=int(number), name=name.rstrip("!*"), label=label, type=_SCALARS.get(kind, _MESSAGE))
    if field.type == _MESSAGE:
        field.type_name = f".{kind}"
