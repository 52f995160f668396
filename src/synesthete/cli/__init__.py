"""The command line; it calls the pipeline, the loop and the evaluation and holds no logic of its own."""
