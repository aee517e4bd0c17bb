"""File formats: YAML read with line numbers into frozen types."""
