"""Training: labelled faces in, a network, its checkpoint and its report out."""
