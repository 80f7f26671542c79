"""A cohort as one page to look at, and a team's own page: HTML that needs no network.

The path, a line a file:

    page       the values that pages are made of
    gather     the store and the score book -> those values
    mistakes   which images were called something else
    pictures   these images as data URIs
    curves     epochs -> the geometry of a line chart
    timeline   attempts -> the geometry of bars on slots
    html       values -> one self-contained HTML file, by the templates beside it

Used by `gamectl report`, `gamectl results` and, for what is logged to MLflow, `gamectl score`.
"""
