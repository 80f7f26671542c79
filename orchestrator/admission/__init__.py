"""Files of teams and of the organizer -> loadouts that may train, or every reason why not.

    manifest      what the formats have in common: strict models with camelCase keys
    purchase      the base of everything that can be bought
    items/        the items, one class each, on six shelves
    enchanter     the ensemble, and what its members may differ in
    shop          the catalog and its prices
    loadout       the format of a loadout
    gpu_shares    shares of a GPU that a cohort may name
    data_source   where a cohort's images lie
    cohort        the format of a cohort
    yaml_places   values, keys and problems of a text, and where they are
    yaml_nodes    text -> values with their places in the file
    yaml_errors   text that is no YAML -> a problem in plain words
    indentation   what to say of a line that starts in the wrong column
    number_hints  how to write a number that a file has as text
    list_hints    how to write a list's entry
    problems      what pydantic found, in plain words
    team_file     a team's own Python file, checked without running it
    draft         one file -> a model and its problems
    claims        files held against each other: whose rules hold, and which team is whose
    receipt       what a loadout costs
    member_plans  a loadout and a cohort's rules -> the plan of every member
    combinations  what is wrong between the purchases of a loadout
    admit         a loadout and a cohort's rules -> receipt and problems
    files         paths -> cohort and loadouts, with every problem at its line
    rewriting     a loadout's file with other values
    starter       the files that a game begins with

It answers at once: nothing here imports torch, Ray, MLflow, SQL or numpy.
"""
