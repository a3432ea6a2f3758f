# Sourced by deploy/up and deploy/test: finds a Python, and installs the packages of a lock file.
# install.py does the installation itself.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

new_enough() {
    "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${ODOMETER_PYTHON:-}" ]; then
        if new_enough "$ODOMETER_PYTHON"; then
            python=$ODOMETER_PYTHON
            return
        fi
        echo "ODOMETER_PYTHON is $ODOMETER_PYTHON, which is not Python 3.11 or newer." >&2
        exit 1
    fi
    for python in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if new_enough "$python"; then return; fi
    done
    echo "Odometer needs Python 3.11 or newer, but PATH has none ($(python3 -V 2>/dev/null || echo 'no python3'));" \
        "install one, or set ODOMETER_PYTHON to its path." >&2
    exit 1
}

make_venv() {
    find_python
    "$python" -I "$root/deploy/install.py" "$1" || exit
}
