package engineio

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Packets and frames that all sessions share.
var (
	packetOfPing  = newPacket(packetPing, "")
	packetOfClose = newPacket(packetClose, "")
	packetOfNoop  = newPacket(packetNoop, "")
	packetOfProbe = newPacket(packetPong, "probe")

	closeNormal        = closeFrame(ws.StatusNormalClosure)
	closeProtocolError = closeFrame(ws.StatusProtocolError)
	closeInvalidData   = closeFrame(ws.StatusInvalidFramePayloadData)
	closeTooLarge      = closeFrame(ws.StatusMessageTooBig)
)

func closeFrame(code ws.StatusCode) *Message {
	return newControl(ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, ""))))
}

// errClosedByPeer ends the reading of a connection whose client sent a close frame.
var errClosedByPeer = errors.New("engineio: WebSocket closed by the client")

// frameReader parses frame headers without allocating.
type frameReader struct {
	src    bytes.Reader
	header [ws.MaxHeaderSize]byte
}

// next returns the header of the first frame of b and the length of the header, or io.ErrUnexpectedEOF when b is too
// short for it.
func (r *frameReader) next(b []byte) (ws.Header, int, error) {
	r.src.Reset(b)
	h, err := ws.ReadHeaderBuffer(&r.src, r.header[:])
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return h, len(b) - r.src.Len(), err
}

// readLoop reads a WebSocket connection until it ends. It is one goroutine at a time, or none while the client has
// nothing to say and the poller waits for it. Where there is no poller, waiting is handed over to a new goroutine, because
// a stack that handling a message has made larger would stay so.
func (s *Session) readLoop(c *conn, first []byte) {
	c.left = first
	s.readOn(c, readBuffers.Get().(*readBuffer), 0, nil)
}

// await is all that an idle connection runs where there is no poller.
func (s *Session) await(c *conn) {
	buf, n, err := c.read()
	if err != nil {
		s.readEnded(c, err)
		return
	}
	s.readOn(c, buf, n, nil)
}

// readOn handles the first n bytes of buf and all that can be read without waiting, and gives buf back. It stays out of
// await's frame.
//
//go:noinline
func (s *Session) readOn(c *conn, buf *readBuffer, n int, err error) {
	waits := false
	defer func() {
		readBuffers.Put(buf)
		if !waits {
			s.readEnded(c, err)
		}
	}()
	for err == nil {
		switch err = s.handleRead(c, buf, n); {
		case err != nil:
		case n < len(buf.b) && c.parks(s.server.poller):
			// There is hardly more. To ask would be a system call, and the poller reports at once if there is.
			err = errWouldBlock
		default:
			n, err = c.tryRead(buf)
		}
	}
	if err == errWouldBlock {
		waits = true
		if !c.park(s.server.poller, buf) {
			go s.await(c)
		}
	}
}

// readEnded ends what c carried after its last read.
func (s *Session) readEnded(c *conn, err error) {
	defer s.server.sessions.Done()
	s.readFailed(c, err)
	c.close()
	c.left, c.parts = nil, nil // the timer of an upgrade may keep c for a while
}

// handleRead handles the first n bytes of buf.
func (s *Session) handleRead(c *conn, buf *readBuffer, n int) (err error) {
	defer s.server.guardSession(s, &err)
	if c.stream {
		return s.readPackets(c, buf.b[:n])
	}
	return s.readFrames(c, &buf.frameReader, buf.b[:n])
}

// readFailed ends what c carried: the session, or the upgrade that c was to complete.
func (s *Session) readFailed(c *conn, err error) {
	s.mu.Lock()
	if c == s.probe {
		s.probe = nil
	}
	current := c == s.conn
	s.mu.Unlock()
	if !current {
		return
	}
	switch {
	case errors.Is(err, errClosedByPeer):
		s.mu.Lock()
		answering := s.hangUp
		s.mu.Unlock()
		if answering {
			s.drainInput(c)
		}
		s.endLocking(ReasonTransportClose, nil)
	case errors.Is(err, io.EOF):
		s.endLocking(ReasonTransportClose, nil)
	case errors.Is(err, errTooLarge), errors.Is(err, errProtocol), errors.Is(err, errInflate), errors.Is(err, errUTF8),
		errors.Is(err, errHeartbeat), errors.Is(err, errPacket), errors.Is(err, errLength), errors.Is(err, errPanic),
		errors.As(err, new(errorOf)):
		reason, frame := failure(err)
		s.closeWith(reason, err, frame)
		if c.stream {
			s.hangUpStream()
		}
		s.drainInput(c)
		s.endLocking(reason, err)
	default:
		// A reset connection is what a cut cable or a killed client looks like.
		s.endLocking(ReasonTransportClose, err)
	}
}

// drainInput reads and drops what the client still sends after the server has begun to close, so that closing the
// socket does not reset the connection under the close frame. The session's deadline bounds it.
func (s *Session) drainInput(c *conn) {
	for {
		buf, _, err := c.read()
		if err != nil {
			return
		}
		readBuffers.Put(buf)
	}
}

// readFrames handles the bytes b, which follow those in c.left, and keeps what is not a whole frame yet.
func (s *Session) readFrames(c *conn, fr *frameReader, b []byte) error {
	if len(c.left) > 0 {
		c.left = append(c.left, b...)
		b = c.left
	}
	for len(b) > 0 {
		h, n, err := fr.next(b)
		if err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil || ws.CheckHeader(h, c.frameState()) != nil || !c.validRsv(h) {
			return errProtocol
		}
		if !h.OpCode.IsControl() && h.Length > int64(s.server.opts.MaxHTTPBufferSize-len(c.parts)) {
			return errTooLarge
		}
		end := n + int(h.Length)
		if len(b) < end {
			break
		}
		payload := b[n:end:end]
		ws.Cipher(payload, h.Mask, 0)
		b = b[end:]
		if err := s.frame(c, h, payload); err != nil {
			return err
		}
	}
	c.keep(b)
	return nil
}

func (c *conn) frameState() ws.State {
	state := ws.StateServerSide
	if c.partOp != 0 {
		state |= ws.StateFragmented
	}
	if c.deflate {
		state |= ws.StateExtended
	}
	return state
}

// validRsv allows RSV1 on the first frame of a message, if compression was negotiated (RFC 7692, 6).
func (c *conn) validRsv(h ws.Header) bool {
	return h.Rsv == 0 || c.deflate && h.Rsv == 0x4 && h.OpCode.IsData() && h.OpCode != ws.OpContinuation
}

// frame handles one frame whose header was checked.
func (s *Session) frame(c *conn, h ws.Header, payload []byte) error {
	switch h.OpCode {
	case ws.OpPing:
		pong := newControl(ws.MustCompileFrame(ws.NewPongFrame(payload)))
		s.mu.Lock()
		if c == s.conn && s.state == stateOpen {
			_ = s.enqueue([]*Message{pong})
		}
		s.mu.Unlock()
		return nil
	case ws.OpPong:
		return nil
	case ws.OpClose:
		if !validClose(payload) {
			return errProtocol
		}
		s.answerClose(c, payload)
		return errClosedByPeer
	case ws.OpContinuation:
		c.parts = append(c.parts, payload...)
		if !h.Fin {
			return nil
		}
		op, message, deflated := c.partOp, c.parts, c.partDeflated
		c.partOp, c.parts, c.partDeflated = 0, nil, false
		return s.webSocketMessage(c, op, message, deflated)
	}
	if !h.Fin {
		c.partOp, c.parts, c.partDeflated = h.OpCode, append([]byte(nil), payload...), rsv1(h)
		return nil
	}
	return s.webSocketMessage(c, h.OpCode, payload, rsv1(h))
}

func (s *Session) webSocketMessage(c *conn, op ws.OpCode, message []byte, deflated bool) error {
	if deflated {
		var err error
		if message, err = inflate(message, s.server.opts.MaxHTTPBufferSize); err != nil {
			return err
		}
	}
	if op == ws.OpText && !utf8.Valid(message) {
		return errUTF8
	}
	s.mu.Lock()
	probing := c == s.probe
	open := c == s.conn && s.state == stateOpen
	s.mu.Unlock()
	switch {
	case probing:
		return s.probePacket(c, message, op == ws.OpBinary)
	case open:
		if s.v3 {
			return s.receiveV3(message, op == ws.OpBinary)
		}
		return s.receive(message, op == ws.OpBinary)
	}
	return nil // the session is closing: only the close frame still matters
}

// validClose checks the payload of a close frame (RFC 6455, 5.5.1 and 7.4).
func validClose(payload []byte) bool {
	if len(payload) < 2 {
		return len(payload) == 0
	}
	code, reason := ws.ParseCloseFrameData(payload)
	return ws.CheckCloseFrameData(code, reason) == nil
}

// answerClose answers a close frame (RFC 6455, 5.5.1), behind what is queued. A close frame that is itself the answer to
// the server's gets none.
func (s *Session) answerClose(c *conn, payload []byte) {
	var body []byte
	if len(payload) >= 2 {
		code, _ := ws.ParseCloseFrameData(payload)
		body = ws.NewCloseFrameBody(code, "")
	}
	frame := newControl(ws.MustCompileFrame(ws.NewCloseFrame(body)))
	s.mu.Lock()
	probing := c == s.probe
	if c == s.conn && s.state == stateOpen {
		s.hangUp = true
		s.beginClosing(ReasonTransportClose, nil, frame)
	}
	s.mu.Unlock()
	if probing {
		// Only the goroutine that reads a probe writes to it. UpgradeTimeout bounds the write.
		_, _ = c.rwc.Write(frame.frame)
	}
}
