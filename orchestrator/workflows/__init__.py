"""What several commands do with a cohort, from beginning to end.

submitting    files that were read, to jobs in the store and a cohort that is run
standing     a submission held against the cohort of that name that is there already
scoring       the hidden test set, evaluated and published
speeds        how fast members train here
measuring     what loadouts and their items are worth: a cohort of their own, run and scored
"""
