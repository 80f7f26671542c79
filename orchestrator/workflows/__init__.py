"""What several commands do with a cohort, from beginning to end.

submitting    files that were read, to jobs in the store and a cohort that is run
changed_rules a cohort's rules held against those that it was submitted with
scoring       the hidden test set, evaluated and published
speeds        how fast members train here
measuring     what loadouts and their items are worth: a cohort of their own, run and scored
"""
