def build_loss(logits, targets):  # <- refused here
    return ((logits - targets) ** 2).mean()
