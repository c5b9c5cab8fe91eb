"""The `sparcl` command: the top floor, which prints; nothing imports it."""
