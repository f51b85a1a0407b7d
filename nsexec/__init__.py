"""The C part of libcontainer: the sealed static init and thin system-call wrappers. Imports nothing of ours."""
