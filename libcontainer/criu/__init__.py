"""CRIU (https://criu.org), which dumps a container's processes into images and restores them: one file a room.

    messages      what of CRIU's protobuf messages we speak          process     the criu program: started, watched, ended
    rpc           one request over `criu swrk`, with notifications   log         which line of CRIU's log says what went wrong
    failure       one sentence for each way in which CRIU fails      features    what this CRIU on this kernel can do
    images_dir    the directory of images and its sidecar files      options     the request options of dump and restore
    dump, predump, lazy                                              a container's processes into images
"""

from __future__ import annotations
