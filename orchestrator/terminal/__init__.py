"""A cohort in words, for whoever looks at it in a terminal.

names         of cohorts and teams, for the Tab key
lookup        a cohort as commands look at it
timeline      the phases a job went through, from its events
display       words for all of that
progress_bars how far something is that takes a while
live_table, live  a cohort watched while it runs
ranking       a leaderboard
follow        logs read while they grow
"""
