"""Speed, measured against what people use: ``python -m benchmarks``.

Only ratios and differences mean anything here. The arms of a case run in one process,
in short batches that take turns, so that whatever else the machine does hits all of
them; and each round of batches gives one ratio.

``measure`` times, ``case`` compares with a bound, ``table`` prints. ``site`` is the web
application that every arm with a request serves, and ``sample`` what its session holds.
The rest are the cases: a module of them has a function ``cases`` that yields them one by
one, set up before the yield and cleaned up after it.
"""
