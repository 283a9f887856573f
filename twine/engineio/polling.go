package engineio

import (
	"bytes"
	"encoding/base64"
	"errors"
	"hash/maphash"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"
)

// recordSeparator stands between the packets of a payload (Engine.IO v4, "HTTP long-polling").
const recordSeparator = '\x1e'

// poll is a GET that waits for packets.
type poll struct {
	wakeup  chan struct{}
	probing bool // guarded by Session.mu: an upgrade is under way, do not wait long
}

// signal never blocks.
func (p *poll) signal() {
	select {
	case p.wakeup <- struct{}{}:
	default:
	}
}

// errPollRepeated: a browser whose connection breaks before the answer comes repeats a GET by itself, and the page never
// knows. The answer to the first one, which has left, is lost.
var errPollRepeated = errors.New("engineio: poll repeated by the browser")

var pollSeed = maphash.MakeSeed()

// requestTag identifies a request by its parameter t, which clients make another one for each, and by its body. Zero means that
// there is no t.
func requestTag(r *http.Request, body []byte) uint64 {
	t := r.URL.Query().Get("t")
	if t == "" {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(pollSeed)
	_, _ = h.WriteString(t) // never fails
	_, _ = h.Write(body)
	return h.Sum64()
}

// servePoll answers a GET with what is queued, waiting for it if there is nothing.
func (s *Session) servePoll(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	// The server's own timeouts are meant for requests that are answered at once. Not every ResponseWriter has them.
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})

	tag := requestTag(r, nil)
	s.mu.Lock()
	switch {
	case s.state == stateClosed:
		s.mu.Unlock()
		s.server.refuse(w, r, CodeUnknownSID, nil)
		return
	case s.conn != nil:
		s.mu.Unlock()
		s.server.refuse(w, r, CodeBadRequest, errUpgraded)
		return
	case s.poll != nil:
		s.end(ReasonTransportError, errPollOverlap)
		s.mu.Unlock()
		s.server.refuse(w, r, CodeBadRequest, errPollOverlap)
		return
	case tag != 0 && tag == s.polled:
		s.end(ReasonTransportError, errPollRepeated)
		s.mu.Unlock()
		s.server.refuse(w, r, CodeBadRequest, errPollRepeated)
		return
	}
	s.polled = tag
	p := &poll{wakeup: make(chan struct{}, 1), probing: s.probe != nil}
	s.poll = p
	for len(s.queue) == 0 && s.state != stateClosed && s.conn == nil {
		var noop <-chan time.Time
		if p.probing {
			noop = time.After(probeNoop)
		}
		s.mu.Unlock()
		expired := false
		select {
		case <-p.wakeup:
		case <-noop:
			expired = true
		case <-r.Context().Done():
			s.mu.Lock()
			s.poll = nil
			if s.conn == nil { // otherwise nothing was lost with the poll
				s.end(ReasonTransportError, errPollAborted)
			}
			s.mu.Unlock()
			return
		}
		s.mu.Lock()
		if expired {
			break
		}
	}
	s.poll = nil
	if s.conn != nil {
		// A client that upgrades has no poll left; this one came too late.
		s.mu.Unlock()
		s.server.refuse(w, r, CodeBadRequest, errUpgraded)
		return
	}
	payload, contentType, size := s.takePayload()
	if s.state == stateClosing {
		// The handler knows, and this is the last payload. Before it is sent, because the client may poll again at once.
		s.end("", nil)
	}
	s.mu.Unlock()

	// Before respond, which at once writes a payload that is larger than its buffer.
	_ = rc.SetWriteDeadline(time.Now().Add(s.server.opts.PingTimeout))
	err := s.server.respond(w, r, payload, contentType)
	if err == nil {
		// Content-Length is set, so this sends the answer now and tells whether the client was there.
		if err = rc.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	_ = rc.SetWriteDeadline(time.Time{})
	s.mu.Lock()
	s.answered(size)
	if err != nil {
		s.end(ReasonTransportError, err)
	}
	s.mu.Unlock()
}

// answered notes that the answer to a poll has left, which size bytes of the queue went into. It needs mu.
func (s *Session) answered(size int) {
	if s.state != stateClosed {
		s.written(size)
	}
}

// takePayload empties the queue into one payload. It needs mu. With nothing to send, the payload is what lets a poll
// go: a close packet for a session that is over, a noop otherwise. The caller calls answered with size, so that what a
// client does not read counts as waiting.
func (s *Session) takePayload() (payload []byte, contentType string, size int) {
	contentType = "text/plain; charset=UTF-8"
	if s.state != stateClosed {
		for _, m := range s.queue {
			size += m.size()
		}
		payload = make([]byte, 0, size)
		for _, m := range s.queue {
			if s.v3 {
				break
			}
			if m.kind == kindControl {
				continue
			}
			if len(payload) > 0 {
				payload = append(payload, recordSeparator)
			}
			payload = m.appendPolling(payload)
		}
		if s.v3 {
			binary := false
			if payload, binary = appendPayloadV3(payload, s.queue); binary {
				contentType = octetStream
			}
		}
		s.queue = nil
	}
	last := packetOfNoop
	switch {
	case len(payload) > 0:
		return payload, contentType, size
	case s.state == stateClosed:
		last = packetOfClose
	}
	if s.v3 {
		payload, _ = appendPayloadV3(nil, []*Message{last})
		return payload, contentType, size
	}
	return last.packet(), contentType, size
}

// servePost handles the packets that a client sends.
func (s *Session) servePost(w http.ResponseWriter, r *http.Request) {
	limit := int64(s.server.opts.MaxHTTPBufferSize)
	if r.ContentLength > limit {
		s.server.tooLarge(w, r)
		return
	}
	s.mu.Lock()
	var refused error
	switch {
	case s.state != stateOpen:
		s.mu.Unlock()
		s.server.refuse(w, r, CodeUnknownSID, nil)
		return
	case s.conn != nil:
		refused = errUpgraded
	case s.posting:
		refused = errPostOverlap
		s.end(ReasonTransportError, refused)
	case r.Header.Get("Content-Type") == octetStream && !s.v3:
		refused = errContentType
		s.end(ReasonTransportError, refused)
	}
	if refused != nil {
		s.mu.Unlock()
		s.server.refuse(w, r, CodeBadRequest, refused)
		return
	}
	s.posting = true
	posted := s.posted
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.posting, s.posted = false, posted
		s.mu.Unlock()
	}()

	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.server.opts.PingInterval + s.server.opts.PingTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			s.server.tooLarge(w, r)
			return
		}
		s.endLocking(ReasonTransportError, err)
		s.server.refuse(w, r, CodeBadRequest, err)
		return
	}
	tag := requestTag(r, body)     // before the body is overwritten
	if tag == 0 || tag != posted { // else the browser has repeated it, as it does with polls, and it has been handled
		if err = s.handlePayload(body, r.Header.Get("Content-Type") == octetStream); err != nil {
			reason, _ := failure(err)
			s.endLocking(reason, err)
			s.server.refuse(w, r, CodeBadRequest, err)
			return
		}
	}
	posted = tag
	header := w.Header()
	s.server.pollingHeaders(header, r)
	// text/html, as the reference: older browsers would offer other types for download.
	header.Set("Content-Type", "text/html")
	header.Set("Content-Length", "2")
	if f := s.server.opts.Headers; f != nil {
		f(header, r)
	}
	_, _ = io.WriteString(w, "ok")
}

// handlePayload handles the packets of a request's body. A panic of the handler closes the session.
func (s *Session) handlePayload(body []byte, binary bool) (err error) {
	defer s.server.guardSession(s, &err)
	if s.v3 {
		return s.receivePayloadV3(body, binary)
	}
	return s.receivePayload(body)
}

// receivePayload handles the packets of a request's body in order, until one of them ends the session. body is
// overwritten.
func (s *Session) receivePayload(body []byte) error {
	if !utf8.Valid(body) {
		return errUTF8
	}
	for more := true; more && s.isOpen(); {
		var packet []byte
		packet, body, more = bytes.Cut(body, []byte{recordSeparator})
		binary := len(packet) > 0 && packet[0] == 'b'
		if binary {
			n, err := base64.StdEncoding.Decode(packet, packet[1:])
			if err != nil {
				return errPacket
			}
			packet = packet[:n]
		}
		if err := s.receive(packet, binary); err != nil {
			return err
		}
	}
	return nil
}

// respond writes a payload as the answer to a poll.
func (sv *Server) respond(w http.ResponseWriter, r *http.Request, payload []byte, contentType string) error {
	header := w.Header()
	sv.pollingHeaders(header, r)
	header.Set("Content-Type", contentType)
	payload = sv.compressible(header, r, payload)
	header.Set("Content-Length", strconv.Itoa(len(payload)))
	if f := sv.opts.Headers; f != nil {
		f(header, r)
	}
	_, err := w.Write(payload)
	return err
}

func (sv *Server) pollingHeaders(h http.Header, _ *http.Request) { h.Set("Cache-Control", "no-store") }

// tooLarge answers 413 with an empty body, as the reference. The session lives on.
func (sv *Server) tooLarge(w http.ResponseWriter, r *http.Request) {
	if f := sv.opts.ConnectionError; f != nil {
		f(r, CodeBadRequest, errTooLarge)
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusRequestEntityTooLarge)
}
