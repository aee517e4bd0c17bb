"""Terminal output: tables, progress, sentences."""
