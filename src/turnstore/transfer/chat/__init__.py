"""Files of conversations in the OpenAI chat format, one JSON object per line.

``turnstore.transfer`` imports from here. Importing writes each line as one turn through
``store.engine``; exporting reads sessions as ``files/chunks`` gives them.
"""
