"""The control plane: a cohort of loadouts goes in, a leaderboard comes out.

The path, a line a file:

    manifest      what the formats have in common: strict models with camelCase keys
    purchase      the base of everything that can be bought
    items/        the items, one class each, on six shelves
    enchanter     the ensemble, and what its members may differ in
    shop          the catalog and its prices
    loadout       the format of a loadout
    cohort        the format of a cohort
    yaml_nodes    text -> values with their places in the file
    number_hints  how to write a number that a file has as text
    list_hints    how to write a list's entry
    problems      what pydantic found, in plain words
    team_file     a team's own Python file, checked without running it
    draft         one file -> a model and its problems
    receipt       what a loadout costs
    member_plans  a loadout and a cohort's rules -> the plan of every member
    combinations  what is wrong between the purchases of a loadout
    admission     a loadout and a cohort's rules -> receipt and problems
    files         paths -> cohort and loadouts, with every problem at its line
    teacher_manifest  what is known of a teacher's file without opening it
    teachers      teachers' files, and which one a cohort's students learn from
    sources       where a cohort's images come from
    architectures what torchvision's classifiers cost
    network_sizes the sizes of a plan's network, without building it
    costs         what a member takes: reference seconds and memory
    speeds        what was measured of that, here
    capacity      whether a member can ever run on a machine
    side_cohorts  what a measurement asks of its side cohort, apart from other calls
    submission    admitted files and data -> jobs in the store
    phases        the state machine: phases, reasons, blame
    state         the store's rows as plain values
    moves         the small steps that changes of a job are made of
    lifecycle     what each happening does to a job
    wishes        what the organizer and the teams want of it
    store/        the SQL database of desired and actual state
    artifacts     weights, checkpoints, logs and fitted stackers as files
    lazy_heap     a heap whose entries may be taken back
    fair_queue    whose turn it is
    schedule      what to do next: pure decisions
    forecast      the cohort played to its end, to say when that is
    planning      the same before anything is submitted
    cluster       Ray, started or joined, and whether it is still there
    member_log    what a member says while it trains, as a file
    log_copy      that file copied to an object store while it grows
    slot          a warm actor that trains one member after another through Ray Train
    room          how many slots to have, on nodes that come and go
    shared_inputs images and teachings in Ray's object store
    slot_handle   a slot as the pool sees it
    slots         the pool of them
    faults        what went wrong, why, and who is to blame: one table
    teachings     what a slot is given of a student's teacher
    inputs        images and teachings, fetched when they are needed
    backbones     what a teacher's training starts from
    teacher_trainer   a teacher trained in a slot of its own
    news          what crosses between controller and slots
    truth         what is known of the validation images
    finish        a job's members combined and measured
    networks      the network that a job ended with
    combiner      that, again and again where something is in its way
    lease         one controller a cohort
    patience      waiting for a store that is away
    controller    observe, decide, act
    gauges        figures for Prometheus
    serve         the parts of a run on Ray put together
    run           being a cohort's controller, from lease to MLflow
    launch        starting one that outlives its client, in the background
    ray_jobs      Ray's Jobs API, asked over HTTP
    remote        starting one as a job of a Ray cluster elsewhere
    attend        making sure that there is one: here, in the background, elsewhere, or watched
    tracking/     MLflow, a projection of the store
    scoring       the hidden test set
    scorebook     the organizer's scores
    leaderboard   who won
    titles        who won what else
    report/       a cohort, and a team's part of it, as HTML pages
    publishing    scores, report and champion shown to everybody
    classify      pictures shown to a trained network
    mlflow_ui     MLflow's pages, while somebody looks
    balance       what each loadout is worth: several seeds, mean and spread
    balance_table that, as a table and as a section of a Markdown file
    ablation/     what each bought item is worth: the loadout with and without it
    search/       better settings for what was bought, found by Ray Tune
    rewriting     a loadout's file with other values
    student       the interval of a mean over a few seeds
    diagrams      how diagrams look
    deployment    what a cohort changes in the manifests of an overlay
    kustomize     manifests built from deploy/
    settings      where things are kept
    errors        every error that a user can cause
    console       results and remarks for people and programs
    outlook       places in the queue and expected ends
    lookup        a cohort as commands look at it
    timeline      the phases a job went through, from its events
    display       words for all of that
    names         of cohorts and teams, for the Tab key
    starter       the files that a game begins with
    doctor/       what an installation, a machine and its services are like
    live_table, live, progress_bars   a cohort watched while it runs
    follow        logs read while they grow
    cli/          the commands, one file each

It may import `jobs`, the training side; never the other way round.
"""
