"""Storms: a load of mixed mutations while what it stands on is killed, cut, filled up or set wrong.

Whatever was answered must be there, once, and the books must be right at every moment.
"""
