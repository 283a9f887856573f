package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// delivery is the way of some messages, which fit one request, to the daemon.
type delivery struct {
	messages []encoded
	results  []Result
	errs     []error
	open     []int // the messages that have no clear answer yet, by their index
	attempts int   // how many requests were sent
	failed   int   // how many of them have left a message open that may have been taken
}

// deliver sends messages until each has a clear answer, ctx ends, or there were attempts enough.
func (c *Client) deliver(ctx context.Context, messages []encoded) ([]Result, []error) {
	d := &delivery{messages: messages, results: make([]Result, len(messages)), errs: make([]error, len(messages))}
	for i := range messages {
		d.open = append(d.open, i)
	}
	var last error
	for len(d.open) > 0 {
		if ctx.Err() != nil {
			d.giveUp(withCause(ctx, last))
			break
		}
		answers, refusal, err := c.attempt(ctx, d.pick())
		d.attempts++
		var again bool
		switch {
		case err == nil:
			last, again = d.note(answers, refusal)
			if !again {
				continue // whatever is open was held back, and nothing is wrong with it
			}
		case ctx.Err() != nil:
			d.failed++
			d.giveUp(withCause(ctx, err))
			return d.results, d.errs
		case tooMuchAtOnce(err) && len(d.open) > 1:
			c.halve(ctx, d)
			return d.results, d.errs
		case !worthRepeating(err):
			for _, i := range d.open {
				d.refuse(i, err)
			}
			return d.results, d.errs
		default:
			last = err
		}
		d.failed++
		if c.attempts > 0 && d.failed >= c.attempts {
			d.giveUp(last)
			break
		}
		if !sleep(ctx, c.backoff.delay(d.failed, last)) {
			if ctx.Err() == nil {
				last = fmt.Errorf("%w comes before the next attempt; the last: %w", context.DeadlineExceeded, last)
			} else {
				last = withCause(ctx, last)
			}
			d.giveUp(last)
			break
		}
	}
	return d.results, d.errs
}

func (d *delivery) pick() []encoded {
	picked := make([]encoded, len(d.open))
	for n, i := range d.open {
		picked[n] = d.messages[i]
	}
	return picked
}

// note takes the answers to the open messages. It keeps those open that can be sent again, and returns true with the error
// of one if it should be waited before.
func (d *delivery) note(answers []answer, refusal *Error) (err error, again bool) {
	asked := d.open
	d.open = nil
	for n, a := range answers {
		i := asked[n]
		if a.Offset != "" {
			// An earlier attempt may have been this message's first.
			d.results[i] = Result{ID: d.messages[i].id, Offset: a.Offset, Duplicate: a.Duplicate}
			continue
		}
		failure := &Error{Status: a.Status, Title: http.StatusText(a.Status), Detail: a.Error}
		switch {
		case a.Status == http.StatusFailedDependency:
			d.open = append(d.open, i)
		case failure.Temporary():
			if refusal != nil {
				failure.RetryAfter = refusal.RetryAfter
			}
			d.open = append(d.open, i)
			err, again = failure, true
		default:
			d.refuse(i, failure)
		}
	}
	if len(d.open) == len(asked) && !again {
		// Nothing has changed, so that asking at once would go on forever.
		return errors.New("publish: the server holds all messages of a batch back"), true
	}
	return err, again
}

// refuse ends a message with an error that is clear, unless an earlier attempt may have come through.
func (d *delivery) refuse(i int, err error) {
	if d.failed > 0 && !errors.As(err, new(*GaveUpError)) {
		err = &GaveUpError{ID: d.messages[i].id, Attempts: d.attempts, Err: err}
	}
	d.errs[i] = err
}

func (d *delivery) giveUp(err error) {
	for _, i := range d.open {
		d.errs[i] = &GaveUpError{ID: d.messages[i].id, Attempts: d.attempts, Err: err}
	}
	d.open = nil
}

// tooMuchAtOnce tells whether a batch may have been refused for one of its messages, or for its size.
func tooMuchAtOnce(err error) bool {
	var refusal *Error
	return errors.As(err, &refusal) && (refusal.Status == http.StatusBadRequest || refusal.Status == http.StatusRequestEntityTooLarge)
}

// halve delivers the first half of what is open, then the second, so that one message does not keep the others back.
func (c *Client) halve(ctx context.Context, d *delivery) {
	middle := len(d.open) / 2
	picked := d.pick()
	for _, half := range []struct {
		indices  []int
		messages []encoded
	}{{d.open[:middle], picked[:middle]}, {d.open[middle:], picked[middle:]}} {
		results, errs := c.deliver(ctx, half.messages)
		for n, i := range half.indices {
			d.results[i] = results[n]
			if errs[n] != nil {
				d.refuse(i, errs[n])
			}
		}
	}
}
