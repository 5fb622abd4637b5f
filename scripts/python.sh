#!/bin/sh
# Print a Python from 3.10 that can make virtual environments; fail where there is none.
for python in "${JDETRT_PYTHON:-python3}" python3.12 python3.11 python3.10; do
    if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
    then
        echo "$python"
        exit 0
    fi
done
exit 1
