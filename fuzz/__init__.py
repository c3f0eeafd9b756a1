"""Fuzzing, guided by coverage: ``python -m fuzz`` (needs atheris).

A target is a module of its own: ``run`` takes any bytes and raises if a promise is
broken, ``seeds`` gives bytes to begin with, ``WORDS`` are worth putting into them, and
``mutated``, where there is one, changes them so that they still mean something.
``harness`` hands a target to atheris, ``__main__`` runs the harnesses.

The targets need no atheris: the tests try the same promises on what Hypothesis makes up,
and hold what was once found.
"""
