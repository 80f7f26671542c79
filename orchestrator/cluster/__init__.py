"""Ray: slots that train members, and what they tell. Here and in `search.tuner` it is imported.

connection    Ray, started or joined, and what its nodes have room for
liveness      whether it is still there
updates       what slots tell the controller, and what it asks of a pool
member_log    what a member says while it trains, as a file
log_copy      that file copied to an object store while it grows
slot          a warm actor that trains one member after another through Ray Train
train_loop    what Ray Train runs there
faults        what went wrong, why, and who is to blame: one table
room          how many slots to have, on nodes that come and go
shared_inputs images and teachings in Ray's object store
placement     groups of resources that killed slots leave behind
slot_handle   a slot as the pool sees it
slots         the pool of them
teacher_trainer   a teacher trained in a slot of its own
gauges        figures for Prometheus
ray_jobs      Ray's Jobs API, asked over HTTP
"""
