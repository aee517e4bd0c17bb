"""What a build leaves: the files beside a tarball, the store, comparison."""
