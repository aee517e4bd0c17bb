"""Terminal output: tables, progress, explanations."""
