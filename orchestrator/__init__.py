"""The control plane: a cohort of loadouts goes in, a leaderboard comes out.

The path, a part a line; a package's first lines name its files:

    admission/    files -> loadouts that may train, or every problem at its line
    sources       where a cohort's images come from
    teaching/     teachers, and what students are given of them
    forecasting/  what members take, whether they fit, when all of them are done
    submission    admitted files and data -> jobs in the store

    phases        the state machine: phases, reasons, blame
    state         the store's rows as plain values
    moves         the small steps that changes of a job are made of
    lifecycle     what each happening does to a job
    operations        what the organizer and the teams want of it
    store/        the SQL database of desired and actual state
    lease         one controller a cohort

    lazy_heap     a heap whose entries may be taken back
    fair_queue    whose turn it is
    schedule      what to do next: pure decisions
    control/      the controller: observe, decide, act; starting one, watching one
    cluster/      Ray: slots that train members
    artifacts     weights, checkpoints, logs and fitted stackers as files
    retrying      waiting for a store that is away

    tracking/     MLflow, a projection of the store
    results/      a job's network, the hidden test set, scores, ranking, titles
    report/       a cohort, and a team's part of it, as HTML pages
    publishing    scores, report and champion shown to everybody

    measuring/    what loadouts are worth, over several seeds
    ablation/     what each bought item is worth: the loadout with and without it
    search/       better settings for what was bought, found by Ray Tune
    diagrams      how diagrams look

    workflows/    what several commands do: submit and run, score, measure
    cli/          the commands, one file each
    terminal/     a cohort in words: tables, the live view, logs that grow
    doctor/       what an installation, a machine and its services are like
    mlflow_ui     MLflow's pages, while somebody looks
    deployment    what a cohort changes in the manifests of an overlay
    kustomize     manifests built from deploy/
    quota         whether Kueue can ever admit them

    opening       the home, the store and the cohort that a command means
    settings      where things are kept
    errors        every error that a user can cause
    console       results and remarks for people and programs
    loading       importing large packages without looking for garbage meanwhile

It may import `jobs`, the training side; never the other way round. The parts import each other in
one direction only, which a linter holds.
"""
