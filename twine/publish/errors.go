package publish

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"
)

var (
	// ErrFull means that a Publisher's queue has no room for a message.
	ErrFull = errors.New("publish: the queue is full")
	// ErrClosed means that a Publisher was closed.
	ErrClosed = errors.New("publish: the publisher is closed")
)

// Error is the daemon's refusal: a problem document (RFC 9457), or what else answered in its place.
type Error struct {
	// Status is the HTTP status. 400: the message is malformed. 401: the key is missing or wrong. 413: the message is
	// larger than 1 MB. 422: the ID is that of another message, which was sent. 429 and 5xx: not now.
	Status int
	// Type, Title and Detail are the problem document's. Detail says what is wrong and what to do about it.
	Type, Title, Detail string
	// RetryAfter is how long the daemon wants to be left alone; 0 means that it did not say.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	title := e.Title
	if title == "" {
		title = http.StatusText(e.Status)
	}
	if e.Detail == "" {
		return fmt.Sprintf("publish: the server answered %d %s", e.Status, title)
	}
	return fmt.Sprintf("publish: the server answered %d %s: %s", e.Status, title, e.Detail)
}

// Temporary reports whether the same message may be taken at another time.
func (e *Error) Temporary() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// GaveUpError means that a message may or may not have been published: no attempt was answered with a clear yes or no.
// A message with the same ID may be published again, and is delivered once. It matches what Err matches.
type GaveUpError struct {
	ID       string
	Attempts int   // how many requests were sent; 0 if there was no time for any
	Err      error // why the last attempt failed, and if the context ended, its cause
}

func (e *GaveUpError) Error() string {
	return fmt.Sprintf("publish: gave up after attempt %d: %v", e.Attempts, e.Err)
}

func (e *GaveUpError) Unwrap() error { return e.Err }

// BatchError says which messages of a batch were not published. It matches what any of Errors matches.
type BatchError struct {
	// Errors has one element for each message, nil for those that were published.
	Errors []error
}

func (e *BatchError) Error() string {
	failed, first := 0, -1
	for i, err := range e.Errors {
		if err != nil {
			if failed++; first < 0 {
				first = i
			}
		}
	}
	if first < 0 {
		return "publish: no message failed"
	}
	return fmt.Sprintf("%d of %d messages were not published; message %d: %v", failed, len(e.Errors), first, e.Errors[first])
}

func (e *BatchError) Unwrap() []error {
	var failed []error
	for _, err := range e.Errors {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// batchError returns a BatchError, or nil if nothing failed.
func batchError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return &BatchError{Errors: errs}
		}
	}
	return nil
}

// worthRepeating tells whether an attempt that failed with err might do better another time.
func worthRepeating(err error) bool {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal.Temporary()
	}
	// A server that can't prove who it is will not be able to in a second either.
	return !errors.As(err, new(*tls.CertificateVerificationError))
}

// withCause adds why ctx ended, which tells a caller's cancellation from a deadline.
func withCause(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || errors.Is(err, cause) {
		return cause
	}
	return fmt.Errorf("%w; the last attempt: %w", cause, err)
}
