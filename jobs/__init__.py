"""The training side: one member plan in, weights and validation probabilities out.

The path, a line a file:

    plan            what one member trains; the contract with `orchestrator`
    values          what a training is handed and hands back, as plain values
    decoding        image files -> square uint8 arrays, and the cache that keeps them
    image_folder    what a folder of photos holds, told by content
    images          such a folder -> labelled arrays, decoded once per size
    drawn_monkeys   the embedded data set, drawn by code into such a folder, with the help of
                    drawn_species, drawn_poses, drawn_anatomy, drawn_brush, drawn_scene
    split           which training images are validation images, and which a team gets
    duplicates      which images are the same picture, and which test images leak
    data_check      a data folder looked over: counts, sizes, broken files, duplicates
    pixels          the images of one training, where its device finds them
    augment         a batch of images -> the same batch, changed with random parameters per image,
                    with the help of blur and erase
    mixup           images blended in pairs, and their labels
    epoch_plan      what an epoch goes through, and a worker's part of it
    workers         several processes that train one member together
    preview         what members see: images untouched and augmented, side by side
    contact_sheet   pictures with captions on one sheet
    monkeynet       the network
    fused           how a processor computes it: the same, in another order
    spectral        its convolutions by Fourier transforms
    tiles           where these pay
    tile_transforms the matrices that these are
    losses          cross-entropy, weighted and soft; distillation around it
    rates           the learning rate of every step
    sgd             torch's gradient descent without its compiler
    teacher         a trained teacher, and what it says about a batch
    reproducible    what a training fixes in its process, so that the same plan gives the same bits
    training_state  everything that changes while a member trains
    processor       which kind of processor this is: another one gives other bits
    checkpoint      that state in a file, to resume from
    training_io     what a training is given besides its plan, and whom it tells of its epochs
    evaluation      a network asked for its outputs
    train           the training function: plan + images -> weights, reporting every epoch
    custom/         the same with a team's own code, in a sandbox
    teacher_training    the same for a teacher: a torchvision classifier
    stacking        how far to trust each member, learnt on validation images
    combining       members' probabilities combined where there is no torch
    ensemble        members' probabilities combined into one model
    metrics         accuracy, recalls, confusion matrix, confidence interval
    memory          freed memory kept for the next batch
    atomic          files written whole or not at all
    places          the same for what a URI names, such as an object of S3
    fetching        data behind a URI -> a folder on this node
    errors          everything that this package raises on purpose

This package knows nothing of prices, teams, queues, the store, MLflow or Ray, and never imports
`orchestrator`; the import linter holds it to that.
"""
