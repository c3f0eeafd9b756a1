#!/bin/sh
# Run the tests on each Python that is found, with the oldest and the newest dependencies.
#
#     tests/matrix.sh "3.11 3.12 3.13" "oldest newest"
#
# Each pair gets an environment of its own in .venv-matrix. Fails if a run fails, or if no
# Python was found.
set -u
cd "$(dirname "$0")/.."

failed="" passed=""
for version in $1; do
    python=$(command -v "python$version" || ls "$HOME"/.pyenv/versions/"$version".*/bin/"python$version" 2>/dev/null | tail -n 1)
    # A shim of pyenv is there for versions that it does not select.
    if [ -z "$python" ] || ! "$python" --version >/dev/null 2>&1; then
        python=$(ls "$HOME"/.pyenv/versions/"$version".*/bin/"python$version" 2>/dev/null | tail -n 1)
    fi
    if [ -z "$python" ]; then
        echo "Python $version was not found; it is skipped."
        continue
    fi
    for dependencies in $2; do
        name="$version-$dependencies"
        environment=".venv-matrix/$name"
        echo "== $name: $("$python" --version)"
        constraint=""
        [ "$dependencies" = oldest ] && constraint="--constraint tests/oldest.txt"
        # shellcheck disable=SC2086  # the constraint is two words, or none
        if "$python" -m venv "$environment" \
            && "$environment/bin/python" -m pip install --quiet --upgrade 'pip>=25.1' \
            && "$environment/bin/python" -m pip install --quiet --upgrade --editable . --group test $constraint \
            && "$environment/bin/python" -m pytest --ignore tests/faults --ignore tests/benchmarks --ignore tests/judges --ignore tests/typing --ignore tests/release; then
            passed="$passed $name"
        else
            failed="$failed $name"
        fi
    done
done

echo "passed:${passed:- none}"
if [ -n "$failed" ] || [ -z "$passed" ]; then
    echo "failed:${failed:- nothing was run}"
    exit 1
fi
