package webtransport

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	wt "github.com/quic-go/webtransport-go"
)

// closeLinger is how long a client may take to answer that it has closed its end of a session.
const closeLinger = time.Second

// closeCapsule is WT_CLOSE_SESSION with the code 0 and no message (draft-ietf-webtrans-http3, 6).
var closeCapsule = []byte{0x68, 0x43, 4, 0, 0, 0, 0}

// session closes a session so that browsers take it for an orderly close. CloseWithError puts a STOP_SENDING beside the
// capsule, and Chromium, which sees that first, reports an error to the page.
type session struct {
	*wt.Session
	connect *http3.Stream // the request that is the session; nobody else writes to it
	once    sync.Once
}

// close may be called more than once and concurrently with everything else. It returns when the session has ended.
func (s *session) close() {
	s.once.Do(func() {
		if s.connect.TryWriteAll(closeCapsule) != nil || s.connect.Close() != nil {
			return
		}
		linger := time.NewTimer(closeLinger)
		defer linger.Stop()
		select {
		case <-s.Context().Done():
		case <-linger.C:
		}
	})
	_ = s.CloseWithError(0, "")
}

// stream is the one stream of a session. Its end is the end of the session.
type stream struct {
	*wt.Stream
	session *session
}

// Read returns io.EOF when the client has closed the session in order, if that can be told: the library may put the end of
// the connection in words of its own.
func (s stream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	if err != nil && closedInOrder(err) {
		err = io.EOF
	}
	return n, err
}

// closedInOrder knows the two messages with which a client may leave. Most send both, and either may come first.
func closedInOrder(err error) bool {
	if session, ok := errors.AsType[*wt.SessionError](err); ok {
		return session.Remote && session.ErrorCode == 0
	}
	conn, ok := errors.AsType[*quic.ApplicationError](err)
	return ok && conn.Remote && conn.ErrorCode == quic.ApplicationErrorCode(http3.ErrCodeNoError)
}

// Close makes Read and Write return at once, which closing the stream alone would not, and waits for the session's end.
func (s stream) Close() error {
	_ = s.SetDeadline(time.Unix(1, 0))
	s.session.close()
	return nil
}
