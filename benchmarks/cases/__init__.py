"""The cases, a module for each subject; ``benchmarks/case.py`` says what is in one."""
