package v1

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/twine-realtime/twine/cmd/twined/internal/repeat"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/parser"
)

// Problem is a problem document (RFC 9457). Members that are empty are left out.
type Problem struct {
	Type   string `json:"type"` // "about:blank": the title says it all
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`

	// From and To bound the stretch of a room's history that is not kept any more.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Results are those of the messages of a batch, in its order.
	Results []Result `json:"results,omitempty"`
}

func newProblem(status int, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// Error makes a Problem what a handler may return.
func (p *Problem) Error() string { return p.Detail }

func (p *Problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil {
		http.Error(w, p.Title, p.Status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}

func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	problem := problemOf(err)
	if problem.Status >= 500 {
		a.Log.Warn("request failed", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", err))
	}
	problem.write(w)
}

// problemOf says what an error means to the one who asked.
func problemOf(err error) *Problem {
	var problem *Problem
	var gap *recovery.GapError
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &gap):
		p := newProblem(http.StatusGone, "the history after this offset is not complete any more; it is from \"to\" on")
		p.From, p.To = gap.From.String(), gap.To.String()
		return p
	case errors.Is(err, recovery.ErrFuture):
		return newProblem(http.StatusBadRequest, "the offset is later than the newest message")
	case errors.Is(err, repeat.ErrOther):
		return newProblem(http.StatusUnprocessableEntity, "the id is already that of another message; this one was not published")
	case errors.Is(err, parser.ErrReservedEvent):
		return newProblem(http.StatusBadRequest, "the event's name is reserved by Socket.IO")
	case errors.Is(err, parser.ErrMalformed):
		return newProblem(http.StatusBadRequest, "the message can't be sent: "+err.Error())
	case errors.Is(err, recovery.ErrNotDurable), errors.Is(err, recovery.ErrFull), errors.Is(err, recovery.ErrClosed):
		return newProblem(http.StatusServiceUnavailable,
			"the message could not be stored; try again, with the same id so that it is sent once")
	}
	return newProblem(http.StatusServiceUnavailable, "the request could not be carried out; try again")
}
