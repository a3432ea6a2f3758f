"""One machine: real servers and the processes of Odometer, started, supervised and ended.

    up          what `odometer up` runs, from start to end
    ready       waiting until questions are answered, and the first key
    api_keys    creates the first API key, and checks whether a key is known
    supervise   a process that ends is started again
    refusals    what is printed while workers refuse to count
    servers     a server: start until it answers, adopt, stop
    kafka       the bundled Apache Kafka
    valkey      the bundled Valkey
    jars        Kafka's jars: pinned, downloaded once, checked
    processes   child processes that outlive their parent, with pidfiles
    private_files  files and directories that only their owner can read

deploy/README.md says how to operate it.
"""
