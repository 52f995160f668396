"""The studio: a page in the browser whose tabs are made from the tasks. It holds no logic of its own."""
