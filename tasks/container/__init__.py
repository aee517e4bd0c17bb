"""Containment of a seed's programs: namespaces, capabilities, system calls, networks."""
