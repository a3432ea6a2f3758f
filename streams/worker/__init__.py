"""The fold worker: polls the log, folds, commits.

The modules:

    loop            the worker
    price_lists     its price list, with those that the counters had before
    view_switch     how a catalog that only adds views takes effect without a rebuild
    price_switch    how another price list takes effect
    judge           decodes a batch, and rejects records that cannot be counted
    commits         the commit of a batch, as a value
    counted_numbers  tells whether a duplicate has other numbers
    judged_events   what is sent to who watches
    end_offsets     the polled end offsets of the topic
    health          intervals, and the facts that probes and metrics report
    metrics         what it has counted, for Prometheus
    process         the Faust App that hosts the worker
    faust_process   signals and the deadline of a stop
    settings        the settings of a worker process
    clock           clock and randomness of the process
"""
