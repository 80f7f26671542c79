"""MLflow, for people to review: a projection of the store, made again where it is missing.

    client       connecting; the cohort's experiment
    runs         how far a run has come, by its tags and its status
    projection   the store's changes -> runs, params, metrics, tags, artifacts
    templates    models exported once for each architecture
    export       the first of an architecture, exported by torch
    model        a job's combined network as a `pt2` model
    failures     what goes wrong in one of its rounds, and whether to go on
    background   the projection kept up to date while a controller runs
    overview     the texts on top of the experiment: its description, its views
    front_page   these written, when something has changed
    publish      scores and confusion matrices, once the organizer says so
    champion     the best network in the model registry, then
    trials       the trials of a search for settings, in an experiment of their own

The only package that imports MLflow, and one process a cohort writes at a time: ghost runs and
locks come from many writers. Nothing waits for it; where it fails or falls behind, the store has
everything, and the next sync brings it up to date.
"""
