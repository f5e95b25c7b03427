"""CLIP's two towers, and the student and the teachers based on them."""
