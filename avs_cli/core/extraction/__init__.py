"""Which frames of a shot an encoder sees, and how their vectors become a shot's."""
