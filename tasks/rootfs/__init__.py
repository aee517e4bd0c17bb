"""Root filesystems: the folders of a build, the cache of seeds, layers, chroots."""
