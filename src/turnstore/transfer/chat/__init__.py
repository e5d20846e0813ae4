"""Files of conversations in the OpenAI chat format, or in one like it.

``turnstore.transfer`` imports from here. On the way in, ``source`` gives the text of a
file, ``values`` splits it into JSON values, ``formats`` finds the conversations in a
value, ``messages`` and ``facts`` tell what a message says whatever its keys are called,
``conversation`` and ``rows`` make the rows of a session, ``reading`` joins these, and
``importing`` stores batches. Exporting reads sessions as ``files/chunks`` gives them.
"""
