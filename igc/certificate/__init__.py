"""The certificate beside a model: how each of its tensors is made of the checkpoint's."""
