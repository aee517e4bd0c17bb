"""One module per subject: faults of a stage, and changes since the last published one."""
