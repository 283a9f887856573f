package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// stream is an open tail.
type stream struct {
	t      *testing.T
	events chan event // closed at the stream's end
	leave  context.CancelFunc
}

type event struct{ name, id, data string }

func (s *service) tailOf(room string, header ...string) *stream {
	s.t.Helper()
	ctx, leave := context.WithCancel(s.t.Context())
	request, err := http.NewRequestWithContext(ctx, "GET", s.web.URL+Path+"tail?room="+url.QueryEscape(room), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer secret")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := s.web.Client().Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("Cache-Control") != "no-store" {
		s.t.Fatalf("%s %v", response.Status, response.Header)
	}
	st := &stream{t: s.t, events: make(chan event, 1000), leave: leave}
	go func() {
		defer close(st.events)
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		var e event
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					st.events <- e
				}
				e = event{}
			}
		}
	}()
	s.t.Cleanup(leave)
	return st
}

func (st *stream) next(name string) event {
	st.t.Helper()
	select {
	case e, ok := <-st.events:
		if !ok {
			st.t.Fatalf("the stream is over, want %s", name)
		}
		if e.name != name {
			st.t.Fatalf("got %+v, want %s", e, name)
		}
		return e
	case <-time.After(time.Minute):
		st.t.Fatalf("nothing comes, want %s", name)
	}
	panic("unreachable")
}

func (st *stream) message() (m Message) {
	st.t.Helper()
	e := st.next("message")
	if err := json.Unmarshal([]byte(e.data), &m); err != nil || m.Offset != e.id {
		st.t.Fatalf("%+v: %v", e, err)
	}
	return m
}

func (s *service) publish(rooms []string, name string, args ...any) string {
	s.t.Helper()
	published, err := s.opts.Twine.To(rooms...).Publish(s.t.Context(), "", name, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return published.Offset.String()
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatal("still not so: " + what)
		case <-tick.C:
		}
	}
}

func TestTail(t *testing.T) {
	s := start(t, nil)
	s.publish([]string{"r"}, "message", "before", json.RawMessage(`{ "n": 12345678901234567890 }`))
	s.publish([]string{"other"}, "message", "not for r")
	st := s.tailOf("r")
	first := st.message()
	if first.Event != "message" || first.Text != `"before", {"n":12345678901234567890}` || first.Bytes == 0 || fmt.Sprint(first.Rooms) != "[r]" || time.Since(first.Time) > time.Minute {
		t.Errorf("got %+v", first)
	}
	s.publish([]string{"other"}, "message", "not for r")
	offset := s.publish([]string{"other", "r"}, "news", []byte{1, 2, 3})
	if m := st.message(); m.Offset != offset || m.Event != "news" || m.Attachments != 1 || len(m.Rooms) != 2 {
		t.Errorf("got %+v", m)
	}
	s.publish(nil, "all", "to everyone")
	if m := st.message(); m.Event != "all" || len(m.Rooms) != 0 {
		t.Errorf("got %+v", m)
	}
	s.publish([]string{"r"}, "long", strings.Repeat("ż", maxShownBytes))
	if m := st.message(); !m.Cut || len(m.Text) > maxShownBytes || len(m.Text) < maxShownBytes-4 || m.Bytes < 2*maxShownBytes {
		t.Errorf("got %d bytes of %d, cut: %v", len(m.Text), m.Bytes, m.Cut)
	}
	// A second tail goes on where the first was at.
	again := s.tailOf("r", "Last-Event-ID", offset)
	if m := again.message(); m.Event != "all" {
		t.Errorf("got %+v", m)
	}
}

// TestTailOfMuch: the newest messages are shown, and the others are counted, not held.
func TestTailOfMuch(t *testing.T) {
	s := start(t, nil)
	st := s.tailOf("r")
	s.publish([]string{"r"}, "message", "first")
	position := st.message().Offset
	st.leave()
	for n := range 3 * shownAtOnce {
		s.publish([]string{"r"}, "message", n)
	}
	st = s.tailOf("r", "Last-Event-ID", position)
	var skipped struct{ Count int }
	if err := json.Unmarshal([]byte(st.next("skipped").data), &skipped); err != nil || skipped.Count != 2*shownAtOnce {
		t.Errorf("%+v, %v", skipped, err)
	}
	for n := range shownAtOnce {
		if m := st.message(); m.Text != fmt.Sprint(2*shownAtOnce+n) {
			t.Fatalf("message %d is %s", n, m.Text)
		}
	}
	// Who begins anew is not told of what was before.
	if m := s.tailOf("r").message(); m.Text != fmt.Sprint(2*shownAtOnce) {
		t.Errorf("begins with %+v", m)
	}
}

func TestTailTellsOfAGap(t *testing.T) {
	s := start(t, nil)
	position := s.publish([]string{"r"}, "message", "first")
	for range 20 {
		s.publish([]string{"q"}, "message", strings.Repeat("x", 250_000)) // pushes out of memory what was before
	}
	s.publish([]string{"r"}, "message", "last")
	st := s.tailOf("r", "Last-Event-ID", position)
	var gap struct{ From, To string }
	if err := json.Unmarshal([]byte(st.next("gap").data), &gap); err != nil || gap.From != position || gap.To == "" {
		t.Errorf("%+v, %v; want a gap from %s", gap, err, position)
	}
	if m := st.message(); m.Text != `"last"` {
		t.Errorf("got %+v", m)
	}
	// A position that there never was does not silence the tail.
	st = s.tailOf("r", "Last-Event-ID", "99999999999999-0")
	eventually(t, "the tail is at the log's end", func() bool {
		s.publish([]string{"r"}, "message", "next")
		return len(st.events) > 0
	})
}

func TestTailRefuses(t *testing.T) {
	s := start(t, nil)
	for _, bad := range []struct{ path, last, why string }{
		{"tail", "", "room is missing"},
		{"tail?room=", "", "room is missing"},
		{"tail?room=" + strings.Repeat("r", maxRoomBytes+1), "", "longer"},
		{"tail?room=%ff", "", "UTF-8"},
		{"tail?room=r", "yesterday", "not an offset"},
	} {
		response, text := s.ask(bad.path, "Last-Event-ID", bad.last)
		if response.StatusCode != 400 || !strings.Contains(text, bad.why) {
			t.Errorf("%.40s after %q: %s %s", bad.path, bad.last, response.Status, text)
		}
	}
	for range maxTails {
		s.tailOf("r")
	}
	response, text := s.ask("tail?room=r")
	if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || !strings.Contains(text, "close one") {
		t.Errorf("one more: %s %s", response.Status, text)
	}
}

// TestTailEnds in each of the ways that it can, and leaves nothing behind.
func TestTailEnds(t *testing.T) {
	open := func(s *service) func() bool { return func() bool { return len(s.tails) == 0 } }
	ended := func(st *stream) func() bool {
		return func() bool {
			select {
			case _, more := <-st.events:
				return !more
			default:
				return false
			}
		}
	}
	t.Run("the client goes", func(t *testing.T) {
		s := start(t, nil)
		s.tailOf("r").leave()
		eventually(t, "the tail has ended", open(s))
	})
	t.Run("the daemon shuts down", func(t *testing.T) {
		s := start(t, nil)
		st := s.tailOf("r")
		s.Console.Close()
		eventually(t, "the stream is over", ended(st))
		eventually(t, "the tail has ended", open(s))
		st = s.tailOf("r")
		eventually(t, "a late stream is over", ended(st))
	})
	t.Run("its time is over", func(t *testing.T) {
		s := start(t, nil)
		s.tailLife = 20 * time.Millisecond
		st := s.tailOf("r")
		eventually(t, "the stream is over", ended(st))
	})
	t.Run("the client does not read", func(t *testing.T) {
		s := start(t, nil)
		s.writeTimeout = 50 * time.Millisecond
		request, err := http.NewRequestWithContext(t.Context(), "GET", s.web.URL+Path+"tail?room=r", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "secret")
		response, err := s.web.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		full := strings.Repeat("x", maxShownBytes-10)
		eventually(t, "the tail has ended", func() bool {
			s.publish([]string{"r"}, "message", full)
			return len(s.tails) == 0
		})
	})
}
