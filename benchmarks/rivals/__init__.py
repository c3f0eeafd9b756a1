"""The site on what people use, one module for each package.

A module has ``in_cookies``, ``on_server`` or both: context managers that give rivals,
and put back what they set up. What those on the server keep is in the directory they
are given. A rival is counted minus its own framework without sessions, so that what is
compared is the session alone; and it has the settings it comes with, but for what its
docstring names: the same lifetime as ours, and nothing that would hold it up.

What each does less than ours, or more, is told in its module.
"""
