"""Nights played through without servers, to compare the orders in which builds may be taken."""
