"""Schedules: when nights are due, which of them is made, and the files that say so."""
