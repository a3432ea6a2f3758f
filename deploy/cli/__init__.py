"""The command `odometer`.

    main         registers all commands
    run          up, worker, api, directory, simulate: commands that run until they are stopped
    status       a verdict, and the state of counting
    operate      topics, rebuild, accept
    config       which settings apply, and what set them
    keys         API keys
    key_lines    the keys to create, from options or from the lines of a file
    dead         dead letters
    explain      how events of a file would be counted
    options      options that several commands share
    help         how help looks, and --version
    completion   what the shell offers after Tab
    terminal     what a command prints, with control characters escaped
    report       a model as lines and tables on a terminal
    progress     the progress of a rebuild

Commands import what they run inside themselves, so that `--help` stays fast.
"""
