"""Tarballs: unpacking, packing, compression."""
