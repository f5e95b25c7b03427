"""Trainable models: heads, teachers, text encoders, and CLIP's towers with the models that are built on them."""
