package v1

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/parser"
)

const (
	historyTimeout = 10 * time.Second
	historyLimit   = 100 // entries a page, if the request does not say
	maxHistory     = 1000
	historyBytes   = 4 << 20
)

// Entry is an event of a room's history.
type Entry struct {
	Offset      string            `json:"offset"`
	Time        time.Time         `json:"time"`
	Rooms       []string          `json:"rooms"` // empty: it was for everyone
	Event       string            `json:"event"`
	Args        []json.RawMessage `json:"args"`                  // binary ones are {"_placeholder":true,"num":n},
	Attachments [][]byte          `json:"attachments,omitempty"` // the n-th of these, in base64
	ID          string            `json:"id,omitempty"`
}

func (a *API) history(w http.ResponseWriter, r *http.Request) error {
	room, err := pathRoom(r)
	if err != nil {
		return err
	}
	params, err := query(r, "after", "since", "through", "until", "limit")
	if err != nil {
		return err
	}
	q := recovery.Query{Rooms: []string{room}, MaxBytes: historyBytes}
	if q.Limit, err = limit(params, historyLimit, maxHistory); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), historyTimeout)
	defer cancel()
	// A query with an end is one of which the log knows whether there is more.
	last, err := a.History.Last(ctx, namespace)
	if err != nil {
		return err
	}
	end, err := lastWanted(params.Get("through"), params.Get("until"))
	if err != nil {
		return err
	}
	if q.Through = end; end.After(last) {
		q.Through = last
	}
	page, err := a.readHistory(ctx, q, last, params.Get("after"), params.Get("since"))
	if err != nil {
		return err
	}
	entries := make([]Entry, 0, len(page.Entries))
	for i := range page.Entries {
		entry, err := entryOf(&page.Entries[i])
		if err != nil {
			return err
		}
		entries = append(entries, entry)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"entries": entries, "next": page.Next.String(), "more": page.More})
}

func (a *API) readHistory(ctx context.Context, q recovery.Query, last recovery.Offset, after, since string) (recovery.Page, error) {
	var err error
	switch {
	case after != "" && since != "":
		return recovery.Page{}, bad("give after or since, not both")
	case after != "":
		if q.After, err = recovery.ParseOffset(after); err != nil {
			return recovery.Page{}, bad("after: %q is not an offset, such as 1767225600000-0", after)
		}
		if q.After.After(last) {
			return recovery.Page{}, recovery.ErrFuture
		}
		return a.read(ctx, q)
	case since != "":
		if q.After, err = parseTime(since, 0); err != nil {
			return recovery.Page{}, bad("since: %q is neither milliseconds since 1970 nor a time such as 2026-01-31T12:00:00Z", since)
		}
		if q.After.After(last) {
			q.After = last
		}
	}
	// From that time on, or from the beginning, as far as there is any history.
	page, err := a.read(ctx, q)
	if gap := (*recovery.GapError)(nil); errors.As(err, &gap) && gap.To.After(q.After) {
		q.After = gap.To
		page, err = a.read(ctx, q)
	}
	return page, err
}

// read is that of the log, for a query that may end before it begins.
func (a *API) read(ctx context.Context, q recovery.Query) (recovery.Page, error) {
	if q.After.After(q.Through) {
		return recovery.Page{Next: q.After}, nil
	}
	return a.History.Read(ctx, namespace, q)
}

// lastWanted returns the offset that a request's history ends with.
func lastWanted(through, until string) (end recovery.Offset, err error) {
	switch {
	case through != "" && until != "":
		return end, bad("give through or until, not both")
	case through != "":
		if end, err = recovery.ParseOffset(through); err != nil {
			return end, bad("through: %q is not an offset, such as 1767225600000-0", through)
		}
		return end, nil
	case until != "":
		// The first millisecond that is not wanted, and what lies before it.
		if end, err = parseTime(until, 1); err != nil {
			return end, bad("until: %q is neither milliseconds since 1970 nor a time such as 2026-01-31T12:00:00Z", until)
		}
		return end, nil
	}
	return recovery.MaxOffset, nil
}

// parseTime returns the last offset before so many milliseconds after a time.
func parseTime(text string, later int64) (recovery.Offset, error) {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return recovery.Offset{}, err
		}
		ms = at.UnixMilli()
	}
	if ms > math.MaxInt64-later {
		return recovery.MaxOffset, nil
	}
	if ms += later; ms <= 0 {
		return recovery.Offset{}, nil
	}
	return recovery.Offset{MS: uint64(ms) - 1, Seq: math.MaxUint64}, nil
}

func entryOf(e *recovery.Entry) (Entry, error) {
	raw, err := parser.SplitArgs(e.Data)
	if err != nil || len(raw) == 0 {
		return Entry{}, parser.ErrMalformed
	}
	name, err := parser.EventName(raw[0])
	if err != nil {
		return Entry{}, err
	}
	out := Entry{Offset: e.Offset.String(), Time: e.Offset.Time().UTC(), Rooms: e.Rooms, Event: name,
		Args: []json.RawMessage{}, Attachments: e.Attachments, ID: e.ID}
	if out.Rooms == nil {
		out.Rooms = []string{}
	}
	for _, arg := range raw[1:] {
		out.Args = append(out.Args, arg)
	}
	return out, nil
}
