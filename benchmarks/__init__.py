"""Speed, measured against what people use: ``python -m benchmarks``.

Only ratios mean anything here. All sides of a case take turns in short batches, so that
whatever else the machine does hits all of them, and each round of batches gives one
ratio. Before anything is timed, the sides are shown to give the same answers.

========================  ==========================================================
``__main__``              what can be asked for, and the progress bar
``cases/``                the cases, a module for each subject
``case``                  sides, targets, and what comes out of a case
``measure``               batches that take turns, by the clock and by the processor
``run``                   each module at each place, in a fresh process
``sample``, ``pages``     what sessions hold, and what a site does with them
``site``, ``asking``      the site, its visitors, and how they ask
``ours``, ``rivals/``     the site on our sessions, and on everybody's
``barerows``              the database under the disk store, by itself
``threaded``              the actor of a session, with a thread
``serving``               the site for real servers: ``serverprocess``, ``wrk``
``population``            stores with a million sessions
``report``, ``machine``   what came out, and where, as JSON
``table``                 the same as text
``plots``, ``style``      the same, to look at
``guard``                 what one call takes, counted and not timed
========================  ==========================================================
"""
