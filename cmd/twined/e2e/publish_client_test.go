//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine/publish"
)

// unsure stands between publishers and the daemon. It hands each request on, and may then spoil the answer.
type unsure struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	target string
	spoil  func(n int, w http.ResponseWriter, status int, body []byte) bool // of the n-th request, from 1; true if it has answered
	count  int
}

func startUnsure(t *testing.T, target string, spoil func(n int, w http.ResponseWriter, status int, body []byte) bool) *unsure {
	t.Helper()
	u := &unsure{t: t, target: target, spoil: spoil}
	u.Server = httptest.NewServer(u)
	t.Cleanup(u.Close)
	return u
}

func (u *unsure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.count++
	n, target := u.count, u.target
	u.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		hangUp(w)
		return
	}
	request, err := http.NewRequest(r.Method, target+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		u.t.Error(err)
		return
	}
	request.Header = r.Header.Clone()
	response, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		hangUp(w) // the daemon is away
		return
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		hangUp(w)
		return
	}
	if u.spoil != nil && u.spoil(n, w, response.StatusCode, answer) {
		return
	}
	w.Header().Set("Content-Type", response.Header.Get("Content-Type"))
	w.WriteHeader(response.StatusCode)
	w.Write(answer)
}

func (u *unsure) requests() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.count
}

// hangUp ends a request's connection without an answer.
func hangUp(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		conn.Close()
	}
}

func newPublishClient(t *testing.T, url, key string) *publish.Client {
	t.Helper()
	client, err := publish.New(publish.Options{URL: url, Key: key, MaxAttempts: -1, MinBackoff: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// TestPublishThroughCuts: the daemon takes a message, the connection is cut in front of the answer or within it, and the message
// comes a second time. It is delivered once.
func TestPublishThroughCuts(t *testing.T) {
	const messages = 30
	d := startDaemon(t)
	listener := dialRaw(t, d, "")
	listener.subscribe("r")
	u := startUnsure(t, d.url(), func(n int, w http.ResponseWriter, status int, body []byte) bool {
		switch n % 3 {
		case 1:
			hangUp(w)
			return true
		case 2:
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				fmt.Fprintf(conn, "HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body[:len(body)/2])
				conn.Close()
			}
			return true
		}
		return false
	})
	client := newPublishClient(t, u.URL, d.key)
	for n := range messages {
		result, err := client.Publish(t.Context(), publish.Message{Room: "r", Data: map[string]int{"n": n}})
		if err != nil || result.Offset == "" || !result.Duplicate {
			t.Fatalf("%+v, %v", result, err)
		}
	}
	batch := make([]publish.Message, messages)
	for n := range batch {
		batch[n] = publish.Message{Room: "r", Data: map[string]int{"n": messages + n}}
	}
	if _, err := client.PublishBatch(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if u.requests() != 3*(messages+1) {
		t.Errorf("%d requests", u.requests())
	}
	checkNumbers(t, listener, 2*messages)
}

// checkNumbers publishes nothing more, and checks that the listener has the numbers from 0, each once.
func checkNumbers(t *testing.T, listener *raw, count int) {
	t.Helper()
	for n, got := range numbersOf(listener.waitMessages(count)) {
		if got != n {
			t.Fatalf("message %d is number %d", n, got)
		}
	}
	if got := len(listener.messages()); got != count {
		t.Errorf("%d messages came, want %d", got, count)
	}
}

// TestPublisherThroughRestarts: a stream of messages while the daemon is killed and started anew.
func TestPublisherThroughRestarts(t *testing.T) {
	const messages, kills = 3000, 3
	d := launch(t, t.TempDir())
	var mu sync.Mutex
	published := map[string]int{} // by offset
	publisher := publish.NewPublisher(newPublishClient(t, d.url(), d.key), publish.PublisherOptions{MaxQueue: 200, MaxBatch: 50, Done: func(o publish.Outcome) {
		mu.Lock()
		defer mu.Unlock()
		if o.Err != nil {
			t.Errorf("message %v: %v", o.Message.Data, o.Err)
		}
		published[o.Result.Offset]++
	}})
	for n := range messages {
		if n%(messages/kills) == messages/kills/2 {
			d.kill()
			d = d.again()
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := publisher.Send(ctx, publish.Message{Room: "r", Data: map[string]int{"n": n}})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := publisher.Close(ctx); err != nil {
		t.Fatal(err)
	}
	next, query := 0, "?limit=1000"
	for {
		page := history(t, d, "r", query)
		for _, e := range page.Entries {
			if e.n(t) != next || published[e.Offset] != 1 {
				t.Fatalf("at %s is message %d, want %d; it was reported %d times", e.Offset, e.n(t), next, published[e.Offset])
			}
			next++
		}
		if !page.More {
			break
		}
		query = "?limit=1000&after=" + page.Next
	}
	if next != messages || len(published) != messages {
		t.Errorf("%d messages are in the history, %d were reported, want %d", next, len(published), messages)
	}
	d.stop()
}

// TestPublishErrors: the daemon's refusals as the package's errors.
func TestPublishErrors(t *testing.T) {
	d := startDaemon(t)
	client := newPublishClient(t, d.url(), d.key)
	first := publish.Message{Room: "r", Data: 1, ID: "one"}
	if _, err := client.Publish(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		client  *publish.Client
		message publish.Message
		status  int
	}{
		{newPublishClient(t, d.url(), "wrong"), publish.Message{Room: "r"}, 401},
		{newPublishClient(t, d.url()+"/elsewhere", d.key), publish.Message{Room: "r"}, 404},
		{client, publish.Message{Room: "r", Event: "disconnect"}, 400},
		{client, publish.Message{Room: "r", Data: 1, Stamp: true}, 400},
		{client, publish.Message{Room: "r", Data: 2, ID: "one"}, 422},
		{client, publish.Message{Room: "r", Data: bytes.Repeat([]byte("x"), 1_000_000)}, 413},
	} {
		var refusal *publish.Error
		if _, err := test.client.Publish(t.Context(), test.message); !errors.As(err, &refusal) || refusal.Status != test.status || refusal.Detail == "" {
			t.Errorf("%d: %v", test.status, err)
		}
	}
	results, err := client.PublishBatch(t.Context(), []publish.Message{{Room: "r", Data: 3}, {Room: "r", Event: "connect"}, {Room: "r", Data: 2, ID: "one"}, {Room: "r", Data: 4}})
	var batch *publish.BatchError
	var malformed, other *publish.Error
	if !errors.As(err, &batch) || !errors.As(batch.Errors[1], &malformed) || malformed.Status != 400 || !errors.As(batch.Errors[2], &other) || other.Status != 422 ||
		len(batch.Unwrap()) != 2 || results[0].Offset == "" || results[3].Offset == "" {
		t.Errorf("%+v, %v", results, err)
	}
	if page := history(t, d, "r", ""); len(page.Entries) != 3 {
		t.Errorf("in the history are %+v", page.Entries)
	}
}
