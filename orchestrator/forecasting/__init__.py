"""How long, and how much memory: before anything is submitted, and while it runs.

architectures what torchvision's classifiers cost
network_sizes the sizes of a plan's network, without building it
costs         what a member takes: reference seconds and memory
speeds        what was measured of that, here
capacity      whether a member can ever run on a machine
forecast      the cohort played to its end, to say when that is
planning      the same before anything is submitted
outlook       places in the queue and expected ends
"""
