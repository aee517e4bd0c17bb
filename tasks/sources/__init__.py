"""Sources: what a root filesystem starts from, one module a type."""
