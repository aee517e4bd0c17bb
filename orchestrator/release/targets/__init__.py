"""Mirrors that generations are written to: a folder, a bucket, another machine."""
