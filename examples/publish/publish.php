<?php
// Publishes a message, without any extension:  TWINE_URL=… TWINE_API_KEY=… php publish.php ROOM JSON

// Returns ['offset' => ...] once the message is stored. It is sent again, under the same id, until there is a clear answer.
function publish(array $message, int $attempts = 5): array
{
    $url = (getenv('TWINE_URL') ?: 'http://127.0.0.1:3005') . '/v1/publish';
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => ['Authorization: Bearer ' . getenv('TWINE_API_KEY'), 'Content-Type: application/json'],
        'content' => json_encode($message + ['id' => bin2hex(random_bytes(16))], JSON_THROW_ON_ERROR),
        'timeout' => 20,
        'ignore_errors' => true, // read the body of an error too
    ]]);
    for ($attempt = 1; ; $attempt++) {
        $wait = min(0.1 * 2 ** $attempt, 5) * random_int(50, 100) / 100;
        $stream = @fopen($url, 'r', false, $context);
        $head = $stream ? stream_get_meta_data($stream)['wrapper_data'] : [];
        $status = preg_match('{^HTTP/\S+ (\d+)}', $head[0] ?? '', $found) ? (int) $found[1] : 0;
        $answer = json_decode($stream ? stream_get_contents($stream) : '', true);
        if ($status === 201 && isset($answer['offset'])) {
            return $answer;
        }
        $final = $status >= 400 && $status < 500 && $status !== 429; // it will not do better next time
        if ($final || $attempt >= $attempts) {
            throw new RuntimeException($status ? "$status " . ($answer['detail'] ?? '') : "no answer from $url");
        }
        foreach ($head as $line) {
            if (preg_match('{^Retry-After: *(\d+)}i', $line, $found)) {
                $wait = max($wait, (float) $found[1]);
            }
        }
        usleep((int) ($wait * 1_000_000));
    }
}

[, $room, $json] = $argv;
echo json_encode(publish(['room' => $room, 'stamp' => true, 'data' => json_decode($json, false, 512, JSON_THROW_ON_ERROR)])), "\n";
