"""The method of the paper and nothing else: layers, losses, backbones, model and task."""
