def build_model(num_classes, size_px):
    return make(num_classes  # <- refused here
