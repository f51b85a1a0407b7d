"""CRIU (https://criu.org), which dumps a container's processes into images and restores them: one file a room.

    messages      what of CRIU's protobuf messages we speak          process     the criu program: started, watched, ended
    rpc           one request over `criu swrk`, with notifications   log         which line of CRIU's log says what went wrong
    failure       one sentence for each way in which CRIU fails      features    what this CRIU on this kernel can do
    images_dir    the directory of images and its sidecar files      options     the request options of dump and restore
    dump          a container's processes into images            restore       and back
    mountinfo     /proc/PID/mountinfo                              mounts        which mounts are from outside, and their keys
    mounts_image  the mounts in the images                         mounts_sources  from those keys to sources on this host
    mounts_stage  a mount namespace with the sources, for restore  mounts_sidecar  sources that config.json does not tell
    mounts_peers  mounts that join groups of the host              mounts_own   those that nobody but the container has
    mounts_wide   one source for a group of slaves                 message_queues  their owner after a restore
    namespaces    joined namespaces                                freezer      what CRIU stops a container with
    network       how CRIU holds the network still                 network_lock  and what a CRIU that was killed has left of it
    images        CRIU's image files, with pycriu's classes        inspect      what is in a directory of them (inspect_*)
    stats         CRIU's own measurements                          progress     how far a dump or a restore has come
    regular       files in a directory that nobody vouches for     chain        the directories that images build on
    wire          protobuf's wire format, without its library      lsm         AppArmor profiles that must be there
    inventory     the image that says how the others were made

`with Session(pass_fds=[images]) as session: session.request(messages.DUMP, messages.options(...), handler)`: the handler is
called with a Notification (script, pid, fd), may set its `options`, and refuses by raising.
"""

from __future__ import annotations
