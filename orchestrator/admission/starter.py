"""The files that a game begins with: a commented cohort, a first loadout, the schemas for editors.

In: a cohort's name. Out: names and texts of files, all of which `gamectl validate` admits as they
are. A setting that is only shown has its `#` right before it, prose a blank after it: without the
former the files are admitted, too. Next on the path: `gamectl init` writes them, and people edit.
"""

import json

from orchestrator.admission.claims import COHORT_FILE
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.manifest import Model
from orchestrator.admission.rewriting import yaml_text

TEAM = "first-team"

COHORT = """\
# yaml-language-server: $schema=schema/cohort.json
# The organizer's rules for the loadouts in this folder. What is left out has its default;
# `gamectl schema cohort` names every setting. Remove a # to change one.
apiVersion: game/v1
kind: Cohort
metadata:
  {name}
spec:
  budget: 100                 # B NN that a team may spend
  #prices: {{wisdom-extractor: 30}}        # where they differ from `gamectl shop`
  #offTheShelf: [herr-nilssons-friend]   # what nobody can buy

  limits:
    epochs: 20                # of any member; who asks for more is refused
    members: 3                # of an ensemble
    #submissionsPerTeam: 3
    #activeDeadlineSeconds: 600

  data:
    # `drawn` are the embedded monkeys. Or a folder with training/CLASS/* and validation/CLASS/*
    # (the hidden test set): a full path, or one that begins beside this file.
    source: drawn
    #skipBrokenImages: true   # leave out files that cannot be read

  # What each network gets. As many train at a time as the machine has room for.
  resources:
    cpus: 1
    threads: 1
    #gpus: 0.5                # to train on a GPU: here two networks share one

  #scoring: {{excludeLeaked: true}}      # test images that training holds, too, do not count
  #allowCustomCode: true      # sells the item `custom`: teams' own Python, in a sandbox
"""

LOADOUT = """\
# yaml-language-server: $schema=schema/loadout.json
# One team's file. Save it as TEAM.yaml, change what is below, and send it to the organizer.
# `gamectl shop` lists what there is to buy, `gamectl shop mixup` explains an item. A # in front of
# a line takes it out.
apiVersion: game/v1
kind: Loadout
metadata:
  team: {team}            # a-z, 0-9 and -, as in the file's name
spec:
  # Free to choose, within the limits of cohort.yaml:
  learningRate: 0.02          # larger learns faster, until it learns nothing at all
  batchSize: 16
  epochs: 20
  seed: 1                     # other random numbers; the same seed gives the same network

  # Paid for with the team's budget:
  purchases:
    - item: speed-boost             # momentum
    - item: rate-rollercoaster      # a learning rate that falls along a curve
      schedule: cosine
    - item: info-infusion           # all training images instead of 70 % of them
    - item: flip-trick              # mirrored images
      horizontal: 0.5
      vertical: 0
    #- item: whirl-and-swirl        # turned ones
    #  degrees: 10
    #- item: neural-turbo-boost     # a deeper network, which takes several times as long to train;
    #  blocks: 1                    # its price is times `blocks`
"""


def starter_files(name: str) -> dict[str, str]:
    """Texts by path, relative to the folder, of a cohort with that name and a loadout to copy."""
    schemas: dict[str, type[Model]] = {"cohort": Cohort, "loadout": Loadout}
    return {
        COHORT_FILE: COHORT.format(name=yaml_text({"name": name}).strip()),
        f"{TEAM}.yaml": LOADOUT.format(team=TEAM),
        **{
            f"schema/{kind}.json": json.dumps(model.json_schema(), indent=2) + "\n"
            for kind, model in schemas.items()
        },
    }
