"""The boot as it is followed: stations, calls, and the story that they tell."""
