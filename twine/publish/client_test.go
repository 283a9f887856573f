package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPublish(t *testing.T) {
	s := newServer(t)
	c := s.client(Options{})
	for _, test := range []struct {
		message Message
		want    string
	}{
		{Message{Room: "a", Data: map[string]any{"text": "hi <b>"}, ID: "1"}, `{["a"] []  {"text":"hi <b>"}  1}`},
		{Message{Rooms: []string{"a", "b"}, Except: []string{"c"}, Event: "news", Args: []any{1, "two", nil}, ID: "2"}, `{["a" "b"] ["c"] news  [1,"two",null] 2}`},
		{Message{Room: "a", Rooms: []string{"b"}, Data: json.RawMessage("null"), ID: "3"}, `{["a" "b"] []  null  3}`},
		{Message{Room: "a", Data: json.RawMessage(`{"n": 1.50}`), ID: "4"}, `{["a"] []  {"n":1.50}  4}`},
		{Message{Room: "a", Data: false, ID: "5"}, `{["a"] []  false  5}`},
		{Message{Room: "a", ID: "6"}, `{["a"] []    6}`},
		{Message{Room: "a", Data: struct{}{}, Stamp: true, ID: "7"}, `{["a"] []  {}  7} stamp`},
	} {
		result, err := c.Publish(t.Context(), test.message)
		taken := s.received()
		if err != nil || result != (Result{ID: test.message.ID, Offset: fmt.Sprintf("%d-0", len(taken))}) {
			t.Fatalf("%+v: %+v, %v", test.message, result, err)
		}
		m := taken[len(taken)-1]
		var data any
		if m.Data != nil {
			if err := json.Unmarshal(m.Data, &data); err != nil {
				t.Fatal(err)
			}
		}
		got := fmt.Sprintf("{%q %q %s %s %s %s}", m.Rooms, m.Except, m.Event, strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(m.Data)), m.Args, m.ID)
		if m.Stamp {
			got += " stamp"
		}
		if got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

func TestIDsAreGenerated(t *testing.T) {
	s := newServer(t)
	c := s.client(Options{})
	seen := map[string]bool{}
	for range 100 {
		result, err := c.Publish(t.Context(), Message{Room: "r"})
		if err != nil || len(result.ID) < 20 || seen[result.ID] || result.Duplicate {
			t.Fatalf("%+v, %v", result, err)
		}
		seen[result.ID] = true
	}
}

func TestMessagesThatCannotBeSent(t *testing.T) {
	s := newServer(t)
	c := s.client(Options{})
	for name, m := range map[string]Message{
		"no room":       {Data: 1},
		"data and args": {Room: "r", Data: 1, Args: []any{2}},
		"a channel":     {Room: "r", Data: make(chan int)},
		"not JSON":      {Room: "r", Data: json.RawMessage("{")},
	} {
		if _, err := c.Publish(t.Context(), m); err == nil || errors.As(err, new(*GaveUpError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.requests > 0 {
		t.Errorf("%d requests were sent", s.requests)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, opts := range []Options{
		{}, {Key: "a b"}, {Key: "a\n"}, {Key: "k", URL: "127.0.0.1:3005"}, {Key: "k", URL: "ftp://x"}, {Key: "k", URL: "http://"}, {Key: "k", URL: "http://a b"},
		{Key: "k", URL: "http://u:pw@x"}, {Key: "k", URL: "http://x?y"}, {Key: "k", Timeout: -1}, {Key: "k", MinBackoff: -1}, {Key: "k", MaxBackoff: -1},
	} {
		if c, err := New(opts); err == nil || c != nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for base, want := range map[string]string{
		"": "http://127.0.0.1:3005/v1/publish", "https://x": "https://x/v1/publish", "https://x/": "https://x/v1/publish", "http://x:1/twine/": "http://x:1/twine/v1/publish",
	} {
		c, err := New(Options{Key: "k", URL: base})
		if err != nil || c.endpoint != want {
			t.Errorf("%s: %s, %v", base, c.endpoint, err)
		}
	}
}

// TestUnavailableThenTaken: one id for all attempts.
func TestUnavailableThenTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.before = func(n int, _ *http.Request) (*http.Response, error) {
			return []*http.Response{problem(503, "not now"), problem(429, "slowly"), answerOf(502, "text/html", "<h1>proxy</h1>"), nil}[n-1], nil
		}
		result, err := s.client(Options{}).Publish(t.Context(), Message{Room: "r"})
		if err != nil || s.requests != 4 || len(s.received()) != 1 || s.received()[0].ID != result.ID || result.Duplicate {
			t.Errorf("%+v, %v after %d requests", result, err, s.requests)
		}
		for n, most := range []time.Duration{100, 200, 400} {
			if wait := s.times[n+1].Sub(s.times[n]); wait < most/2*time.Millisecond || wait > most*time.Millisecond {
				t.Errorf("wait %d was %s", n, wait)
			}
		}
	})
}

// TestAnswerLost: the message was taken, and its answer cut off or never sent.
func TestAnswerLost(t *testing.T) {
	for name, spoil := range map[string]func(*http.Response) (*http.Response, error){
		"no answer":        func(*http.Response) (*http.Response, error) { return nil, errReset },
		"answer cut":       func(r *http.Response) (*http.Response, error) { return cut(r), nil },
		"503 nevertheless": func(*http.Response) (*http.Response, error) { return problem(503, "too late"), nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				s.after = func(n int, answer *http.Response) (*http.Response, error) {
					if n < 3 {
						return spoil(answer)
					}
					return answer, nil
				}
				result, err := s.client(Options{}).Publish(t.Context(), Message{Room: "r"})
				if err != nil || !result.Duplicate || result.Offset != "1-0" || len(s.received()) != 1 || s.requests != 3 {
					t.Errorf("%+v, %v after %d requests, taken %+v", result, err, s.requests, s.received())
				}
			})
		})
	}
}

// TestSilence: an attempt that nobody answers ends after its timeout, and the next one is answered.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.before = func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return nil, nil
		}
		if _, err := s.client(Options{Timeout: 3 * time.Second}).Publish(t.Context(), Message{Room: "r"}); err != nil {
			t.Error(err)
		}
		if wait := s.times[1].Sub(s.times[0]); wait < 3*time.Second || wait > 3100*time.Millisecond {
			t.Errorf("the second attempt came after %s", wait)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for header, want := range map[string]struct{ least, most time.Duration }{
		"7": {7 * time.Second, 9 * time.Second}, "Sat, 01 Jan 2000 00:00:10 GMT": {9 * time.Second, 13 * time.Second},
		"999999999999": {time.Minute, 75 * time.Second}, "86400": {time.Minute, 75 * time.Second}, "-5": {0, time.Second}, "soon": {0, time.Second},
	} {
		t.Run(header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // begins at 2000-01-01
				s := newServer(t)
				s.before = func(n int, _ *http.Request) (*http.Response, error) {
					if n == 1 {
						return problem(503, "shutting down", "Retry-After", header), nil
					}
					return nil, nil
				}
				if _, err := s.client(Options{}).Publish(t.Context(), Message{Room: "r"}); err != nil {
					t.Fatal(err)
				}
				if wait := s.times[1].Sub(s.times[0]); wait < want.least || wait > want.most {
					t.Errorf("waited %s", wait)
				}
			})
		})
	}
}

func TestRefusalsAreFinal(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 405, 413, 422, 501} {
		s := newServer(t)
		s.before = func(int, *http.Request) (*http.Response, error) { return problem(status, "the reason"), nil }
		_, err := s.client(Options{}).Publish(t.Context(), Message{Room: "r"})
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Status != status || refusal.Detail != "the reason" || refusal.Type != "about:blank" ||
			refusal.Title != http.StatusText(status) || refusal.Temporary() || s.requests != 1 || errors.As(err, new(*GaveUpError)) {
			t.Errorf("%d: %v after %d requests", status, err, s.requests)
		}
		if want := fmt.Sprintf("publish: the server answered %d %s: the reason", status, http.StatusText(status)); err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

func TestAnswersOfOthers(t *testing.T) {
	redirect := answerOf(301, "text/html", "moved")
	redirect.Header.Set("Location", "https://elsewhere/")
	for name, test := range map[string]struct {
		response *http.Response
		want     string
	}{
		"text":        {answerOf(404, "text/plain; charset=utf-8", "404 page not found\n"), "404 Not Found: 404 page not found"},
		"long":        {answerOf(400, "text/plain", strings.Repeat("é", 1000)), "éé…"},
		"page":        {answerOf(403, "text/html", "<h1>no</h1>"), "403 Forbidden"},
		"redirect":    {redirect, "301 Moved Permanently: redirects are not followed; it points to https://elsewhere/"},
		"a login":     {answerOf(200, "text/html", "<h1>sign in</h1>"), "answered 200 OK"},
		"an ok":       {answerOf(201, "text/plain", "ok"), "http://127.0.0.1:3005/v1/publish the right address?"},
		"other JSON":  {answerOf(201, "application/json", `{"id":1}`), "the right address?"},
		"not problem": {answerOf(400, "application/json", `[]`), "400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.before = func(int, *http.Request) (*http.Response, error) { return test.response, nil }
			_, err := s.client(Options{}).Publish(t.Context(), Message{Room: "r"})
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 400 || s.requests != 1 {
				t.Errorf("got %v after %d requests, want %s", err, s.requests, test.want)
			}
		})
	}
}

func TestGivesUp(t *testing.T) {
	for attempts, want := range map[int]int{0: 10, 1: 1, 3: 3} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			s.before = func(int, *http.Request) (*http.Response, error) { return problem(503, "never"), nil }
			began := time.Now()
			_, err := s.client(Options{MaxAttempts: attempts}).Publish(t.Context(), Message{Room: "r", ID: "mine"})
			var gaveUp *GaveUpError
			var refusal *Error
			if !errors.As(err, &gaveUp) || gaveUp.ID != "mine" || gaveUp.Attempts != want || s.requests != want || !errors.As(err, &refusal) || refusal.Status != 503 {
				t.Errorf("%d: %v after %d requests", attempts, err, s.requests)
			}
			if took := time.Since(began); attempts == 0 && (took < 10*time.Second || took > 22*time.Second) {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestRefusedAfterUncertainty: the first attempt may have come through, so that a refusal of the second proves nothing.
func TestRefusedAfterUncertainty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.before = func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return nil, errReset
			}
			return problem(401, "the key was changed"), nil
		}
		_, err := s.client(Options{}).Publish(t.Context(), Message{Room: "r"})
		var refusal *Error
		if !errors.As(err, new(*GaveUpError)) || !errors.As(err, &refusal) || refusal.Status != 401 || s.requests != 2 {
			t.Errorf("got %v after %d requests", err, s.requests)
		}
	})
}

func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.before = func(int, *http.Request) (*http.Response, error) { return problem(503, "never"), nil }
		c := s.client(Options{MaxAttempts: -1, MaxBackoff: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := c.Publish(ctx, Message{Room: "r"})
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, new(*GaveUpError)) || took < 58*time.Second || took > time.Minute {
			t.Errorf("%v after %s", err, took)
		}
		if s.requests < 60 || s.requests > 130 {
			t.Errorf("%d requests in a minute", s.requests)
		}

		stopped := errors.New("stopped")
		during, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(1500*time.Millisecond, func() { stop(stopped) })
		began = time.Now()
		if _, err := c.Publish(during, Message{Room: "r"}); !errors.Is(err, stopped) || time.Since(began) != 1500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		before := s.requests
		_, err = c.Publish(during, Message{Room: "r"})
		var gaveUp *GaveUpError
		if !errors.As(err, &gaveUp) || gaveUp.Attempts != 0 || !errors.Is(err, stopped) || s.requests != before {
			t.Errorf("with a context that is over: %v", err)
		}
		// In the middle of an attempt.
		s.before = func(_ int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if _, err := c.Publish(short, Message{Room: "r"}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// TestUntrustedServer: there is no use in asking again one that can't prove who it is.
func TestUntrustedServer(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = discard()
	server.StartTLS()
	defer server.Close()
	c, err := New(Options{URL: server.URL, Key: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	if _, err := c.Publish(t.Context(), Message{Room: "r"}); err == nil || errors.As(err, new(*GaveUpError)) {
		t.Errorf("got %v", err)
	}
}

// TestRealConnections: the server takes the message and hangs up, then the client comes again.
func TestRealConnections(t *testing.T) {
	var mu sync.Mutex
	var ids []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m received
		body, err := io.ReadAll(r.Body)
		if err := errors.Join(err, json.Unmarshal(body, &m)); err != nil {
			t.Error(err)
		}
		mu.Lock()
		ids = append(ids, m.ID)
		n := len(ids)
		mu.Unlock()
		switch n {
		case 1, 2:
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			if n == 2 {
				io.WriteString(conn, "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"off")
			}
			conn.Close()
		default:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(201)
			io.WriteString(w, `{"offset":"1-0","duplicate":true}`)
		}
	}))
	defer server.Close()
	c, err := New(Options{URL: server.URL, Key: "secret", MinBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	result, err := c.Publish(t.Context(), Message{Room: "r"})
	mu.Lock()
	defer mu.Unlock()
	if err != nil || len(ids) != 3 || slices.ContainsFunc(ids, func(id string) bool { return id != result.ID }) {
		t.Errorf("%+v, %v, ids %q", result, err, ids)
	}
}
