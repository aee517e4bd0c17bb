"""The demonstration: a farm on one machine that builds the shipped nightly batch."""
