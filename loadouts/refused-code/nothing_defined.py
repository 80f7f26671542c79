def train(model):  # <- refused here
    return model
