"""What recognises speech, made by others or here: which words were said."""
