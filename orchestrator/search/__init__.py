"""A search for better settings of a loadout, on Ray Tune.

    space        which settings may be searched, and where
    candidates   settings to try, and the best of them as a spec to paste
    trials       what came of them
    tuner        the trials on Ray Tune
    run          a search: images in Ray's object store, trials shown and kept
    view         the search watched while it runs
    table        its result for people
    picture      that, as a diagram

In: an admitted loadout and its cohort's rules. Out: the best settings, judged by validation images.
Used by `gamectl tune`.
"""
