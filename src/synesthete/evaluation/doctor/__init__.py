"""Whether an installation, a run or a model is in health: checks, each with a verdict, its figure and what to do."""
