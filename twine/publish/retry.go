package publish

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// maxRetryAfter bounds what a server may ask for: one that wants an hour would keep messages waiting unseen.
const maxRetryAfter = time.Minute

// backoff says how long to wait between attempts.
type backoff struct {
	min, max time.Duration
}

// delay is the wait after so many failed attempts in a row, the last of which was err. Half of it is left to chance, so that
// publishers that failed together do not come back together.
func (b backoff) delay(failed int, err error) time.Duration {
	wait := b.max
	if shift := failed - 1; shift < 30 && b.min<<shift > 0 {
		wait = min(b.min<<shift, b.max)
	}
	wait = wait/2 + rand.N(wait/2+1)
	var refusal *Error
	if errors.As(err, &refusal) && refusal.RetryAfter > 0 {
		asked := min(refusal.RetryAfter, maxRetryAfter)
		// Not before it: the share of chance comes on top.
		wait = max(wait, asked+rand.N(asked/4+1))
	}
	return wait
}

// sleep returns false if ctx ends first, at once if it is known to.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retryAfter reads the header's two forms, seconds and a date. What is neither counts as nothing.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(v); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
