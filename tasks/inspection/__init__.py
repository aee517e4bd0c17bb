"""What a stage holds: an inventory of its tarball, made in one pass, and comparisons of two."""
