"""Unpacks, packs and compresses tarballs."""
