"""Kafka, with aiokafka. Only this folder and the API's producer import it.

The modules:

    consumer      the log that a worker, or a rebuild, reads
    producer      sends records
    topics        creates and checks topics
    offsets       what a topic holds now: offsets, the last record, all records
    follow        the records from now on
    deadlines     deadlines for exchanges with a broker
    batch_fetch   takes many fetched records at once
    salvage       good records of a damaged batch
"""
