"""CLIP's two towers, and the student and teachers that are built on them."""
