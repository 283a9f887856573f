package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// server answers requests without a network, so that a test's clock can be a false one. Unless a test says otherwise it
// takes each message once, as the daemon does.
type server struct {
	t *testing.T
	// before may answer a request in the server's place: it returns nil, nil to leave that to it. n counts from 1.
	before func(n int, r *http.Request) (*http.Response, error)
	// after may spoil the answer to a request that was carried out.
	after func(n int, answer *http.Response) (*http.Response, error)

	mu       sync.Mutex
	requests int
	sizes    []int       // messages of each request
	times    []time.Time // when each came
	taken    []received
	ids      map[string]string // offset by id
}

// received is a message as it came.
type received struct {
	Rooms  []string        `json:"rooms"`
	Except []string        `json:"except"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
	Args   json.RawMessage `json:"args"`
	Stamp  bool            `json:"stamp"`
	ID     string          `json:"id"`
}

func newServer(t *testing.T) *server { return &server{t: t, ids: map[string]string{}} }

// client returns one whose waits are short, with what else the options say.
func (s *server) client(opts Options) *Client {
	s.t.Helper()
	opts.HTTPClient = &http.Client{Transport: s}
	if opts.Key == "" {
		opts.Key = "secret"
	}
	client, err := New(opts)
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	n := s.requests
	s.times = append(s.times, time.Now())
	var in struct {
		received
		Messages []received `json:"messages"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		s.t.Errorf("request %d: %v", n, err)
	}
	batch := in.Messages != nil
	if !batch {
		in.Messages = []received{in.received}
	}
	s.sizes = append(s.sizes, len(in.Messages))
	if s.before != nil {
		// Unlocked, for those that wait.
		s.mu.Unlock()
		response, err := s.before(n, r)
		s.mu.Lock()
		if response != nil || err != nil {
			return response, err
		}
	}
	if r.Method != "POST" || r.URL.Path != "/v1/publish" || r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("Content-Type") != "application/json" {
		return problem(401, "wrong API key"), nil
	}
	response := s.carryOut(in.Messages, batch)
	if s.after != nil {
		return s.after(n, response)
	}
	return response, nil
}

func (s *server) carryOut(messages []received, batch bool) *http.Response {
	results := make([]map[string]any, len(messages))
	malformed := false
	for i, m := range messages {
		results[i] = map[string]any{"error": "another message is malformed", "status": 424}
		if m.Event == "disconnect" {
			results[i] = map[string]any{"error": "the event's name is reserved", "status": 400}
			malformed = true
		}
	}
	switch {
	case malformed && batch:
		return answerOf(400, "application/problem+json", map[string]any{"title": "Bad Request", "status": 400, "detail": "x", "results": results})
	case malformed:
		return problem(400, "the event's name is reserved")
	}
	for i, m := range messages {
		offset, duplicate := s.ids[m.ID]
		if !duplicate {
			s.taken = append(s.taken, m)
			offset = fmt.Sprintf("%d-0", len(s.taken))
			s.ids[m.ID] = offset
		}
		results[i] = map[string]any{"offset": offset, "duplicate": duplicate}
	}
	if batch {
		return answerOf(201, "application/json", map[string]any{"results": results})
	}
	return answerOf(201, "application/json", results[0])
}

// received returns the messages that were taken.
func (s *server) received() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.taken...)
}

func answerOf(status int, contentType string, body any) *http.Response {
	text, ok := body.(string)
	if !ok {
		encoded, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		text = string(encoded)
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {contentType}},
		Body: io.NopCloser(strings.NewReader(text))}
}

func problem(status int, detail string, header ...string) *http.Response {
	response := answerOf(status, "application/problem+json",
		map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail})
	for i := 0; i < len(header); i += 2 {
		response.Header.Set(header[i], header[i+1])
	}
	return response
}

// cut is the body of an answer whose connection ended in the middle of it.
func cut(response *http.Response) *http.Response {
	response.Body = io.NopCloser(io.MultiReader(io.LimitReader(response.Body, 5), brokenReader{}))
	return response
}

var errReset = errors.New("connection reset by peer")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errReset }

func discard() *log.Logger { return log.New(io.Discard, "", 0) }
