"""Benchmarks of Maestro OMS against other ways to do the same work: `oms bench …`.

Nothing of the product imports this package. Every figure is the median of rounds in
which our server and its peers take turns on one machine, from one client.
"""
