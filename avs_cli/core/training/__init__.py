"""The training loop, its optimizers and schedules, pairs of captions and videos, distillation."""
