"""A cohort's controller, and who sees to it that there is one.

holders       who is at work on a cohort
inputs        images and teachings, fetched by a thread when they are needed
gates         jobs that wait for what they train on
recorder      what slots told, written to the store
combiner      a job's members combined, again and again where something is in its way
sleep         time in which the machine stood still
controller    the loop: observe, decide, act
serve         the parts of a run on Ray put together
run           being a cohort's controller, from lease to MLflow
launch        starting one that outlives its client, in the background
remote        starting one as a job of a Ray cluster elsewhere
place         here, or on which cluster
attend        making sure that there is one: here, in the background, elsewhere, or watched
"""
