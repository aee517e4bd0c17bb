"""A step: a process tree in namespaces of its own, and what it does in there."""
