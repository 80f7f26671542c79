"""What loadouts are worth, over several seeds, in a cohort of their own.

side_cohorts  what a measurement asks of its side cohort, apart from other calls
balance       each loadout's accuracy: mean and spread
balance_table that, as a table and as a section of a Markdown file
student       the interval of a mean over a few seeds
"""
