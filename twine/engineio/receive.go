package engineio

import (
	"encoding/base64"
	"log/slog"
)

// receive handles one packet that the client sent over its current transport. An error means that the client broke
// the protocol.
func (s *Session) receive(packet []byte, binary bool) error {
	if binary {
		return s.message(packet, true)
	}
	if len(packet) == 0 {
		return errPacket
	}
	switch packet[0] {
	case packetMessage:
		return s.message(packet[1:], false)
	case packetPong:
		s.pong()
	case packetBase64:
		data, err := base64.StdEncoding.AppendDecode(nil, packet[1:])
		if err != nil {
			return errPacket
		}
		return s.message(data, true)
	case packetPing:
		return errHeartbeat
	case packetClose:
		s.closedByClient()
	case packetOpen, packetUpgrade, packetNoop:
	default:
		return errPacket
	}
	return nil
}

func (s *Session) message(data []byte, binary bool) error {
	s.recv.Lock()
	defer s.recv.Unlock()
	if s.ended {
		return nil
	}
	if err := s.handler.Message(data, binary); err != nil {
		s.server.opts.Logger.Debug("engineio: message refused", slog.String("session", s.id), slog.Any("error", err))
		return errorOf{err}
	}
	return nil
}

// errorOf marks an error that came from the Handler.
type errorOf struct{ error }

func (e errorOf) Unwrap() error { return e.error }

// failure returns the reason and the close frame for an error of receive or of the WebSocket reader.
func failure(err error) (Reason, *Message) {
	switch err {
	case errHeartbeat, errProtocol:
		return ReasonTransportError, closeProtocolError
	case errTooLarge:
		return ReasonTransportError, closeTooLarge
	case errUTF8, errInflate:
		return ReasonParseError, closeInvalidData
	case errPanic:
		return ReasonForcedClose, closeNormal
	}
	return ReasonParseError, closeNormal
}
