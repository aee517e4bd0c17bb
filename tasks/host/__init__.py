"""The machine: processes, files, locks, mounts, control groups."""
