package server

import (
	"io"
	"net/http"
	"time"
)

// boundBodies lets a client take no longer than limit to send a request's body. http.Server.ReadTimeout would do the same, but
// would also end a long poll.
func boundBodies(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			connection := http.NewResponseController(w)
			connection.SetReadDeadline(time.Now().Add(limit))
			// A request of its own: http.Server recognises a body that was not read to its end by the one that it made, and
			// then lets the client finish writing instead of resetting the connection under the answer.
			bound := *r
			body := &boundBody{ReadCloser: r.Body, connection: connection}
			bound.Body = body
			next.ServeHTTP(w, &bound)
			if r.Close && !body.ended {
				body.linger()
			}
			return
		}
		next.ServeHTTP(w, r)
	})
}

// lingering is how long the rest of a body is taken after the answer, as http.Server waits.
const lingering = 500 * time.Millisecond

// boundBody lifts the deadline as soon as the body is there, for the connection is then watched for the client's
// leaving, which a deadline would look like.
type boundBody struct {
	io.ReadCloser
	connection *http.ResponseController
	ended      bool
}

// linger takes the rest of the body of a client that wants the connection closed. http.Server closes it at once, with what was
// not read in it, which resets it: the client may never see the answer.
func (b *boundBody) linger() {
	if b.connection.Flush() != nil {
		return // it is not ours any more
	}
	b.connection.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.Copy(io.Discard, b.ReadCloser)
}

func (b *boundBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.ended = true
		b.connection.SetReadDeadline(time.Time{})
	}
	return n, err
}
