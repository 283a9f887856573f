package recovery

import (
	"context"
	"errors"
	"fmt"
)

// Reader is the reading half of a Log.
type Reader interface {
	Read(ctx context.Context, ns string, q Query) (Page, error)
	Start(ctx context.Context, ns string) (Offset, error)
	Last(ctx context.Context, ns string) (Offset, error)
}

// Tiered reads from several logs as if they were one: each page comes from the
// shallowest that covers it. Appending to the logs is the Sequencer's affair.
//
// A log that fails is passed over as long as a deeper one covers the position.
// Only if none does is the failure reported, and never as a gap: a tier that is
// out of reach for the moment may still have the history.
//
// Its methods may be called concurrently.
type Tiered struct {
	logs []Log
}

// Tiers returns the logs as one, shallowest first. It panics without a log.
func Tiers(logs ...Log) *Tiered {
	if len(logs) == 0 {
		panic("recovery: Tiers needs a log")
	}
	return &Tiered{logs: append([]Log(nil), logs...)}
}

// Logs returns the logs, shallowest first.
func (t *Tiered) Logs() []Log { return append([]Log(nil), t.logs...) }

// Read returns one page of a query, as Log.Read does. Pages of one query may
// come from different logs: where one ends (a deep tier does before the shallow
// ones while it is being written behind them), another may go on. Only the page
// after which none does has no More.
func (t *Tiered) Read(ctx context.Context, ns string, q Query) (Page, error) {
	through, _, _ := q.Bounds()
	var end *Page // from a log that has nothing after the position
	var gap *GapError
	var failures []error
	for i, log := range t.logs {
		page, err := log.Read(ctx, ns, q)
		var g *GapError
		switch {
		case err == nil && !page.Next.Before(through):
			return page, nil
		case err == nil && page.Next.After(q.After):
			page.More = true
			return page, nil
		case err == nil:
			end = &page
		case errors.As(err, &g):
			if gap == nil || g.To.Before(gap.To) {
				gap = g
			}
		case !errors.Is(err, ErrFuture):
			failures = append(failures, fmt.Errorf("failed to read tier %d: %w", i, err))
		}
	}
	switch {
	case end != nil && gap == nil:
		return *end, nil
	case len(failures) > 0:
		return Page{}, errors.Join(failures...)
	case gap != nil:
		return Page{}, gap
	}
	return Page{}, fmt.Errorf("%w: %v in namespace %q", ErrFuture, q.After, ns)
}

// Start is the earliest offset after which some log is complete. Logs that fail
// are passed over unless all do.
func (t *Tiered) Start(ctx context.Context, ns string) (Offset, error) {
	return t.among(func(l Log) (Offset, error) { return l.Start(ctx, ns) }, Offset.Before)
}

// Last is the newest offset that any log has. Logs that fail are passed over
// unless all do.
func (t *Tiered) Last(ctx context.Context, ns string) (Offset, error) {
	return t.among(func(l Log) (Offset, error) { return l.Last(ctx, ns) }, Offset.After)
}

func (t *Tiered) among(get func(Log) (Offset, error), better func(a, b Offset) bool) (Offset, error) {
	var best Offset
	var failures []error
	for _, log := range t.logs {
		o, err := get(log)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if best.IsZero() || better(o, best) {
			best = o
		}
	}
	if len(failures) == len(t.logs) {
		return Offset{}, errors.Join(failures...)
	}
	return best, nil
}

// Close closes all logs.
func (t *Tiered) Close() error {
	var failures []error
	for _, log := range t.logs {
		failures = append(failures, log.Close())
	}
	return errors.Join(failures...)
}
