"""`odometer rebuild`: fills the next generation of the counters and switches to it.

The modules:

    command           plans, resumes and runs a rebuild under a lease
    report            the progress and the result
    rebuild_worker    the worker that fills the next generation
    carry_over        copies the buckets that are older than the log
    carried_records   copies ids, bookings, the latest calls and tallies
    shared_history    the pages that both generations keep
    page_difference   the rows that the next generation lacks
    name_cache        the names of tenants and series in one generation
"""
