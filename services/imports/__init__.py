"""Importing other systems' files: CSV and a map of its columns, streamed in batches.

`running.run_import` drives it; `mapping` reads maps, `reading` reads files,
`values` converts cells, and each kind of entity has a module of its own.
"""
