"""The design of a load: which prompts, when, and in which order of lanes. Nothing here sends anything."""
