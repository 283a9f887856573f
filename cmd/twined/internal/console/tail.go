package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/parser"
)

const (
	maxRoomBytes = 1024
	// maxTails is how many tails may be open at once.
	maxTails = 32
	// tailLife is how long one lasts. The page then asks again, so what its key may not do any more ends.
	tailLife = 15 * time.Minute
	// tailPoll is how often a tail looks for messages, and readTimeout how long it may take to look.
	tailPoll    = 200 * time.Millisecond
	readTimeout = 5 * time.Second
	// writeTimeout is how long the page may take to accept what it is sent, and idleWrite how long it may be sent nothing.
	writeTimeout = 10 * time.Second
	idleWrite    = 15 * time.Second
	// shownAtOnce is how many messages a tail shows of what came since it last looked, the newest; the others are
	// counted. readAtOnce is how many pages it reads for that.
	shownAtOnce = 100
	readAtOnce  = 10
	// maxAhead is how many looks a position may be ahead of the log, until it is taken for one that there never was.
	maxAhead = 25
	// maxShownBytes is how much of a message is shown.
	maxShownBytes = 16 << 10
)

// Message is a message of a room. Its arguments are text, for a browser would round large numbers.
type Message struct {
	Offset      string    `json:"offset"`
	Time        time.Time `json:"time"`
	Rooms       []string  `json:"rooms"` // empty: for everyone
	Event       string    `json:"event"`
	Text        string    `json:"text"`                  // the arguments in JSON, between commas
	Cut         bool      `json:"cut,omitempty"`         // Text is only the beginning
	Bytes       int       `json:"bytes"`                 // of the whole message
	Attachments int       `json:"attachments,omitempty"` // how many binary values it has, which are not shown
}

// tail sends a room's messages as Server-Sent Events: first the newest that are in memory, then each as it comes. With the
// header Last-Event-ID it begins after that message. Besides messages there are "gap", with what {from, to} lies between
// that could not be shown, and "skipped", with a {count}.
func (c *Console) tail(w http.ResponseWriter, r *http.Request) {
	room := r.URL.Query().Get("room")
	switch {
	case room == "":
		http.Error(w, "room is missing: name it in the query, as in tail?room=lobby", http.StatusBadRequest)
		return
	case len(room) > maxRoomBytes || !utf8.ValidString(room):
		http.Error(w, fmt.Sprintf("room is longer than %d bytes or not valid UTF-8", maxRoomBytes), http.StatusBadRequest)
		return
	}
	var after recovery.Offset
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		var err error
		if after, err = recovery.ParseOffset(last); err != nil {
			http.Error(w, "Last-Event-ID is not an offset, such as 1767225600000-0", http.StatusBadRequest)
			return
		}
	}
	select {
	case c.tails <- struct{}{}:
		defer func() { <-c.tails }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d tails are open already; close one", maxTails), http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), c.tailLife)
	defer cancel()
	out := &eventStream{w: w, control: http.NewResponseController(w), timeout: c.writeTimeout}
	defer out.control.SetWriteDeadline(time.Time{}) // the connection may be used again
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx
	follow := &follower{recent: c.opts.Recent, room: room, after: after}
	if err := follow.run(ctx, out, c.closed); err != nil {
		c.opts.Log.Debug("console: tail ended", "room", room, "error", err)
	}
}

// follower is a tail's place in the log.
type follower struct {
	recent recovery.Reader
	room   string
	after  recovery.Offset // zero: from the beginning of what is in memory
	ahead  int             // looks in a row that found after to be in the future
}

// run sends until ctx ends, closed is closed, or the client does not take it.
func (f *follower) run(ctx context.Context, out *eventStream, closed <-chan struct{}) error {
	tick := time.NewTicker(tailPoll)
	defer tick.Stop()
	if err := out.comment("tail"); err != nil {
		return err
	}
	for {
		if err := f.look(ctx, out); err != nil {
			return err
		}
		if time.Since(out.wrote) > idleWrite {
			if err := out.comment("still here"); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-closed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look sends what came since the last look.
func (f *follower) look(ctx context.Context, out *eventStream) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var newest []recovery.Entry
	skipped := 0
	var gap *recovery.GapError
	first := f.after.IsZero()
	for pages := 0; ; pages++ {
		page, err := f.recent.Read(ctx, namespace, recovery.Query{After: f.after, Rooms: []string{f.room}})
		var missing *recovery.GapError
		switch {
		case errors.As(err, &missing) && missing.To.After(f.after) && pages < readAtOnce:
			if !first {
				gap = missing
			}
			f.after = missing.To
			continue
		case errors.Is(err, recovery.ErrFuture):
			// Another node of the cluster, which is a moment ahead, has told the position. Or nobody has.
			if f.ahead++; f.ahead < maxAhead {
				return nil
			}
			last, err := f.recent.Last(ctx, namespace)
			if err != nil {
				return err
			}
			f.ahead, f.after = 0, last
			return nil
		case err != nil:
			return err
		}
		f.ahead = 0
		newest = append(newest, page.Entries...)
		if n := len(newest) - shownAtOnce; n > 0 {
			newest, skipped = newest[n:], skipped+n
		}
		f.after = page.Next
		if !page.More {
			break
		}
		if pages >= readAtOnce {
			last, err := f.recent.Last(ctx, namespace)
			if err != nil {
				return err
			}
			gap = &recovery.GapError{From: f.after, To: last}
			f.after = last
			break
		}
	}
	if gap != nil {
		if err := out.event("gap", "", map[string]any{"from": gap.From, "to": gap.To}); err != nil {
			return err
		}
	}
	if skipped > 0 && !first {
		if err := out.event("skipped", "", map[string]any{"count": skipped}); err != nil {
			return err
		}
	}
	for i := range newest {
		if err := out.event("message", newest[i].Offset.String(), messageOf(&newest[i])); err != nil {
			return err
		}
	}
	return out.flush()
}

func messageOf(e *recovery.Entry) *Message {
	m := &Message{Offset: e.Offset.String(), Time: e.Offset.Time().UTC(), Rooms: e.Rooms, Bytes: len(e.Data), Attachments: len(e.Attachments)}
	if m.Rooms == nil {
		m.Rooms = []string{}
	}
	raw, err := parser.SplitArgs(e.Data)
	if err != nil || len(raw) == 0 {
		m.Text = string(e.Data) // not an event, which the log should not hold
	} else {
		m.Event, _ = parser.EventName(raw[0])
		var text bytes.Buffer
		for i, arg := range raw[1:] {
			if i > 0 {
				text.WriteString(", ")
			}
			_ = json.Compact(&text, arg) // it is valid: SplitArgs has seen to that
		}
		m.Text = text.String()
	}
	if m.Cut = len(m.Text) > maxShownBytes; m.Cut {
		m.Text = strings.ToValidUTF8(m.Text[:maxShownBytes], "")
	}
	return m
}

// eventStream writes Server-Sent Events, each within its time.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration // for each write
	wrote   time.Time
	dirty   bool
}

// event writes an event. data becomes JSON, which has no line breaks.
func (s *eventStream) event(name, id string, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return s.write(fmt.Sprintf("event: %s\n%sdata: %s\n\n", name, id, body))
}

// comment writes a line that means nothing, and sends it at once.
func (s *eventStream) comment(text string) error {
	if err := s.write(": " + text + "\n\n"); err != nil {
		return err
	}
	return s.flush()
}

func (s *eventStream) write(text string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	s.dirty, s.wrote = true, time.Now()
	_, err := io.WriteString(s.w, text)
	return err
}

func (s *eventStream) flush() error {
	if !s.dirty {
		return nil
	}
	s.dirty = false
	return s.control.Flush()
}
