#!/bin/sh
# Publishes a message with curl:  TWINE_URL=… TWINE_API_KEY=… ./publish.sh ROOM JSON
set -eu

# With an id the message may be sent again, and arrives once: curl does so when nobody listens or the answer is 503. After another
# error, do so yourself: TWINE_ID=… ./publish.sh ROOM JSON
id=${TWINE_ID:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}

# The key goes in by standard input, because everyone on the machine can see a command's arguments.
printf 'header = "Authorization: Bearer %s"\n' "$TWINE_API_KEY" |
	curl --config - --fail-with-body --silent --show-error --retry 5 --retry-connrefused --max-time 60 --write-out '\n' \
		--header "Content-Type: application/json" \
		--header "Idempotency-Key: $id" \
		--data "{\"room\": \"$1\", \"stamp\": true, \"data\": $2}" \
		"${TWINE_URL:-http://127.0.0.1:3005}/v1/publish" || {
	echo "failed; the message's id is $id" >&2
	exit 1
}
