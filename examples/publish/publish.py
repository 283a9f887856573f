"""Publishes a message with urllib:  TWINE_URL=… TWINE_API_KEY=… python3 publish.py ROOM JSON"""

import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
import uuid

URL = os.environ.get("TWINE_URL", "http://127.0.0.1:3005") + "/v1/publish"
KEY = os.environ["TWINE_API_KEY"]


def publish(message, attempts=5):
    """Returns {"offset": ...} once the message is stored. It is sent again, under the same id, until there is a clear answer."""
    body = json.dumps({"id": str(uuid.uuid4()), **message}).encode()
    headers = {"Authorization": "Bearer " + KEY, "Content-Type": "application/json"}
    for attempt in range(1, attempts + 1):
        wait = min(0.1 * 2**attempt, 5) * random.uniform(0.5, 1)
        try:
            with urllib.request.urlopen(urllib.request.Request(URL, body, headers), timeout=20) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429 or attempt == attempts:  # it will not do better next time
                raise RuntimeError(f"{error.code} {json.load(error)['detail']}") from None
            wait = max(wait, float(error.headers.get("Retry-After") or 0))
        except (OSError, ValueError):  # no answer, or only a part of it
            if attempt == attempts:
                raise
        time.sleep(wait)


if __name__ == "__main__":
    print(json.dumps(publish({"room": sys.argv[1], "stamp": True, "data": json.loads(sys.argv[2])})))
