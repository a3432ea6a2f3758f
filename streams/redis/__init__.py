"""The counters in Redis or Valkey. Only this folder, in streams, imports the package `redis`.

The modules:

    client        connection, function calls, errors
    library       the Lua library: files, version, code (lua/)
    store         one generation of counters
    commit        the arguments of a commit
    server_info   what INFO says of the server
    judged_channel  tells who watches which events were judged
    series_ids    ids of series, and rows by page
    price_lists   the price lists that counters were made with
    compaction    compact forms of pages
    closing       adds the buckets of a tier to those of coarser tiers
    eviction      watches that Redis does not evict
    generations   all generations: begin, switch, retire, drop
"""
