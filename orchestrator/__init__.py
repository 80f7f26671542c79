"""The control plane: a cohort of loadouts goes in, a leaderboard comes out.

The path, a line a file:

    manifest      what the formats have in common: strict models with camelCase keys
    purchase      the base of everything that can be bought
    items/        the items, one class each, on five shelves
    enchanter     the ensemble, and what its members may differ in
    shop          the catalog and its prices
    loadout       the format of a loadout
    cohort        the format of a cohort
    yaml_nodes    text -> values with their places in the file
    problems      what pydantic found, in plain words
    draft         one file -> a model and its problems
    receipt       what a loadout costs
    member_plans  a loadout and a cohort's rules -> the plan of every member
    combinations  what is wrong between the purchases of a loadout
    admission     a loadout and a cohort's rules -> receipt and problems
    files         paths -> cohort and loadouts, with every problem at its line
    teachers      teachers' files, and which one a cohort's students learn from
    submission    admitted files and data -> jobs in the store
    phases        the state machine
    state         the store's rows as plain values
    store/        the SQL database of desired and actual state
    artifacts     weights, probabilities and fitted stackers as files
    schedule      what to do next: pure decisions
    cluster       Ray, started or joined
    slot          a warm actor that trains one member after another through Ray Train
    slots         the pool of them
    teachings     what a slot is given of a student's teacher
    backbones     what a teacher's training starts from
    teacher_trainer   a teacher trained in a slot of its own
    news          what slots have to tell
    finish        a job's members combined and measured
    controller    observe, decide, act
    run           the parts of a run put together
    tracking/     MLflow, a projection of the store
    scoring       the hidden test set
    scorebook     the organizer's scores
    leaderboard   who won
    balance       what each loadout is worth: several seeds, mean and spread
    balance_table that, as a table and as a section of a Markdown file
    settings      where things are kept
    errors        every error that a user can cause
    console       results and remarks for people and programs
    live          a cohort watched while it runs
    cli/          the commands, one file each

It may import `jobs`, the training side; never the other way round.
"""
