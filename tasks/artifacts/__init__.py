"""The results of a build: tarballs and their sidecar files, comparison."""
