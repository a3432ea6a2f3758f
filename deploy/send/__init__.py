"""`odometer send`: the events of a file to the API or to Kafka, so that each counts once.

    command   options, progress bar and messages
    reading   a file to bodies: lines or a document, plain, gzip or zstd
    sending   bodies to batches, retries, and the stored progress
    pacing    no faster than the workers count, straight to Kafka
    ahead     reading the next batches while one is sent

Sending a file twice counts nothing twice; `sending` says why.
"""
