package original

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/twine-realtime/twine/cmd/twined/internal/repeat"
)

type published struct {
	room, message string
	count         int
}

func publisher(p *published, err error) *Publisher {
	return &Publisher{
		Authorized: func(key string) bool { return key == "key" },
		Publish: func(_ context.Context, room, _ string, message json.RawMessage) error {
			p.room, p.message = room, string(message)
			p.count++
			return err
		},
		Log: slog.New(slog.DiscardHandler),
	}
}

func post(handler http.Handler, key, body string) *httptest.ResponseRecorder {
	request := httptest.NewRequest("POST", "/api/twine", strings.NewReader(body))
	if key != "" {
		request.Header.Set("Authorization", key)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func TestPublish(t *testing.T) {
	var got published
	before := time.Now().UnixMilli()
	answer := post(publisher(&got, nil), "key", `{"room_id": "lobby", "payload": {"text": "hi"}, "extra": [1]}`)
	if answer.Code != http.StatusCreated || answer.Body.String() != "ok" {
		t.Fatalf("answer %d %q", answer.Code, answer.Body)
	}
	var message struct {
		Text, Room string
		Timestamp  int64
	}
	if err := json.Unmarshal([]byte(got.message), &message); err != nil {
		t.Fatal(err)
	}
	if got.room != "lobby" || message.Text != "hi" || message.Room != "lobby" || message.Timestamp < before || message.Timestamp > time.Now().UnixMilli() {
		t.Errorf("published %+v", got)
	}
}

func TestPublishRefuses(t *testing.T) {
	const good = `{"room_id":"r","payload":{}}`
	for name, test := range map[string]struct {
		key, body string
		status    int
		want      string
	}{
		"no key":             {"", good, 401, "no API key"},
		"wrong key":          {"kez", good, 401, "wrong API key"},
		"wrong key, no JSON": {"kez", "{", 401, "wrong API key"},
		"empty body":         {"key", "", 400, "not valid JSON"},
		"cut body":           {"key", `{"room_id":"r","payload":{`, 400, "not valid JSON"},
		"two values":         {"key", good + good, 400, "not valid JSON"},
		"array":              {"key", `[]`, 400, "not a JSON object"},
		"null":               {"key", `null`, 400, "not a JSON object"},
		"string":             {"key", `"x"`, 400, "not a JSON object"},
		"invalid UTF-8":      {"key", "{\"room_id\":\"r\",\"payload\":{\"a\":\"\xff\"}}", 400, "UTF-8"},
		"room missing":       {"key", `{"payload":{}}`, 400, "room_id is missing"},
		"room in capitals":   {"key", `{"Room_ID":"r","payload":{}}`, 400, "room_id is missing"},
		"room empty":         {"key", `{"room_id":"","payload":{}}`, 400, "room_id is empty"},
		"room null":          {"key", `{"room_id":null,"payload":{}}`, 400, "room_id is not a string"},
		"room a number":      {"key", `{"room_id":5,"payload":{}}`, 400, "room_id is not a string"},
		"room an array":      {"key", `{"room_id":["r"],"payload":{}}`, 400, "room_id is not a string"},
		"room too long":      {"key", `{"room_id":"` + strings.Repeat("r", MaxRoomBytes+1) + `","payload":{}}`, 400, "longer than"},
		"payload missing":    {"key", `{"room_id":"r"}`, 400, "payload is missing"},
		"payload null":       {"key", `{"room_id":"r","payload":null}`, 400, "payload is not an object"},
		"payload a string":   {"key", `{"room_id":"r","payload":"x"}`, 400, "payload is not an object"},
		"payload an array":   {"key", `{"room_id":"r","payload":[{}]}`, 400, "payload is not an object"},
		"nested too deep":    {"key", `{"room_id":"r","payload":{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}}`, 400, "depth"},
		"too large":          {"key", `{"room_id":"r","payload":{"a":"` + strings.Repeat("x", 10_000_000) + `"}}`, 413, "larger than 1000000"},
	} {
		t.Run(name, func(t *testing.T) {
			var got published
			answer := post(publisher(&got, nil), test.key, test.body)
			if answer.Code != test.status || !strings.Contains(answer.Body.String(), test.want) || len(answer.Body.String()) > 200 {
				t.Errorf("answer %d %q, want %d with %q", answer.Code, answer.Body, test.status, test.want)
			}
			if got.count != 0 {
				t.Errorf("published %+v", got)
			}
			if test.status == 401 && answer.Header().Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}

func TestPublishLargeBodyOfUnknownLength(t *testing.T) {
	var got published
	request := httptest.NewRequest("POST", "/api/twine", iotest.OneByteReader(strings.NewReader(strings.Repeat(" ", MaxBodyBytes+1))))
	request.ContentLength = -1
	request.Header.Set("Authorization", "key")
	recorder := httptest.NewRecorder()
	publisher(&got, nil).ServeHTTP(recorder, request)
	if recorder.Code != http.StatusRequestEntityTooLarge || got.count != 0 {
		t.Errorf("answer %d, published %d", recorder.Code, got.count)
	}
}

func TestIdempotencyKey(t *testing.T) {
	for name, test := range map[string]struct {
		keys   []string
		status int
		id     string
	}{
		"none":       {nil, 201, ""},
		"one":        {[]string{"order 17/paid"}, 201, "order 17/paid"},
		"longest":    {[]string{strings.Repeat("k", 255)}, 201, strings.Repeat("k", 255)},
		"too long":   {[]string{strings.Repeat("k", 256)}, 400, ""},
		"empty":      {[]string{""}, 400, ""},
		"twice":      {[]string{"a", "b"}, 400, ""},
		"same twice": {[]string{"a", "a"}, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			count, id := 0, ""
			handler := publisher(&published{}, nil)
			handler.Publish = func(_ context.Context, _, key string, _ json.RawMessage) error {
				count, id = count+1, key
				return nil
			}
			request := httptest.NewRequest("POST", "/api/twine", strings.NewReader(`{"room_id":"r","payload":{}}`))
			request.Header = http.Header{"Authorization": {"key"}, "Idempotency-Key": test.keys}
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, request)
			if answer.Code != test.status || id != test.id || (count == 1) != (test.status == 201) {
				t.Errorf("answer %d %q; published %d times, as %q", answer.Code, answer.Body, count, id)
			}
			if test.status == 400 && !strings.Contains(answer.Body.String(), "Idempotency-Key") {
				t.Errorf("answer %q", answer.Body)
			}
		})
	}
}

func TestKeyOfAnotherMessage(t *testing.T) {
	var got published
	answer := post(publisher(&got, repeat.ErrOther), "key", `{"room_id":"r","payload":{}}`)
	if answer.Code != http.StatusUnprocessableEntity || answer.Header().Get("Retry-After") != "" || !strings.Contains(answer.Body.String(), "another message") {
		t.Errorf("answer %d %q %v", answer.Code, answer.Body, answer.Header())
	}
}

func TestSameMessage(t *testing.T) {
	event := func(payload, room string, ms int64) []byte {
		message, err := Stamp(json.RawMessage(payload), room, time.UnixMilli(ms))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Appendf(nil, `["message",%s]`, message)
	}
	first := event(`{"a":1,"timestamp":5,"b":{"timestamp":7}}`, "r", 1700000000123)
	for name, test := range map[string]struct {
		again []byte
		want  bool
	}{
		"later":            {event(`{"a":1,"timestamp":6,"b":{"timestamp":7}}`, "r", 1800000000000), true},
		"another order":    {event(`{ "b":{"timestamp":7},"a":1 }`, "r", 1), true},
		"other payload":    {event(`{"a":1,"b":{"timestamp":8}}`, "r", 1700000000123), false},
		"less payload":     {event(`{}`, "r", 1700000000123), false},
		"other room":       {event(`{"a":1,"b":{"timestamp":7}}`, "s", 1700000000123), false},
		"not stamped":      {[]byte(`["message",{"a":1}]`), false},
		"stamp is a text":  {[]byte(`["message",{"a":1,"b":{"timestamp":7},"room":"r","timestamp":"5"}]`), false},
		"stamp is no tail": {[]byte(`["message",{"a":1,"b":{"timestamp":7},"room":"r","timestamp":5},6]`), false},
	} {
		if got := SameMessage(first, test.again); got != test.want {
			t.Errorf("%s: %v\n%s\n%s", name, got, first, test.again)
		}
	}
	if string(first) != string(event(`{"a":1,"timestamp":5,"b":{"timestamp":7}}`, "r", 1700000000123)) {
		t.Errorf("comparing has changed it: %s", first)
	}
}

func TestPublishFails(t *testing.T) {
	var got published
	answer := post(publisher(&got, errors.New("disk full")), "key", `{"room_id":"r","payload":{}}`)
	if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" || strings.Contains(answer.Body.String(), "disk") {
		t.Errorf("answer %d %q %v", answer.Code, answer.Body, answer.Header())
	}
}

func TestStamp(t *testing.T) {
	now := time.UnixMilli(1700000000123)
	for payload, want := range map[string]string{
		`{}`:    `{"room":"r","timestamp":1700000000123}`,
		`{   }`: `{"room":"r","timestamp":1700000000123}`,
		`{"big":12345678901234567890.10,"a" : [1, {"b":null}] }`: `{"big":12345678901234567890.10,"a" : [1, {"b":null}],"room":"r","timestamp":1700000000123}`,
		`{"room":"x","a":1,"timestamp":[2]}`:                     `{"a":1,"room":"r","timestamp":1700000000123}`,
		`{"ro\u006fm":"x","b":{"room":"inner"}}`:                 `{"b":{"room":"inner"},"room":"r","timestamp":1700000000123}`,
		`{"room":1,"room":2}`:                                    `{"room":"r","timestamp":1700000000123}`,
		`{"Room":1}`:                                             `{"Room":1,"room":"r","timestamp":1700000000123}`,
		`{"a":"roommate","<&>":"<&>"}`:                           `{"a":"roommate","<&>":"<&>","room":"r","timestamp":1700000000123}`,
	} {
		got, err := Stamp(json.RawMessage(payload), "r", now)
		if err != nil || !json.Valid(got) {
			t.Errorf("Stamp(%s): %s, %v", payload, got, err)
		}
		var gotValue, wantValue any
		json.Unmarshal(got, &gotValue)
		json.Unmarshal([]byte(want), &wantValue)
		a, _ := json.Marshal(gotValue)
		b, _ := json.Marshal(wantValue)
		if string(a) != string(b) {
			t.Errorf("Stamp(%s) is %s, want %s", payload, got, want)
		}
	}
	if got, err := Stamp(json.RawMessage(`{"n":1.000000000000000000001}`), `q"\`, now); err != nil || !strings.Contains(string(got), `1.000000000000000000001`) || !strings.Contains(string(got), `"room":"q\"\\"`) {
		t.Errorf("got %s, %v", got, err)
	}
}

func FuzzParsePublication(f *testing.F) {
	f.Add(`{"room_id":"r","payload":{"a":1}}`)
	f.Add(`{"room_id":"r","payload":{"room":{},"timestamp":"x","r\u006fom":[1e9, true]}}`)
	f.Add(`{"payload":{"a":1},"payload":5,"room_id":""}`)
	f.Fuzz(func(t *testing.T, body string) {
		room, message, err := parsePublication([]byte(body), time.UnixMilli(5))
		if err != nil {
			return
		}
		var members map[string]json.RawMessage // case matters
		if err := json.Unmarshal(message, &members); err != nil || room == "" || string(members["timestamp"]) != "5" {
			t.Errorf("%q: room %q, message %s, %v", body, room, message, err)
		}
	})
}
