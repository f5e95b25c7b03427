"""What is trained: heads, teachers, text encoders, CLIP's towers and what is built on them."""
